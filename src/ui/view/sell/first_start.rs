//! The first start: what a shop needs until its first sale, step by step.

use super::health::{HealthIndicator, badness, health_of, indicators, set};
use super::{DETAIL, Line, piece, toggle_key};
use crate::domain::command::Probe;
use crate::domain::health::{CheckStatus, HealthLevel, ShopState};
use crate::domain::text::clean;
use crate::ui::app::{App, FirstStep};
use crate::ui::painter::words;
use crate::ui::settings_form::TestState;
use crate::ui::theme::{Role, Theme, of_health, word};

/// Columns before what is said of a step: cursor, mark, word and name.
const BEFORE: u16 = 21;

/// How a step stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Standing {
    /// Which.
    pub step: FirstStep,
    /// Done is [`HealthLevel::Ok`].
    pub health: HealthLevel,
    /// The word beside its mark.
    pub word: &'static str,
    /// What is so.
    pub what: String,
    /// What mends it; empty where nothing is to mend.
    pub fix: String,
}

impl Standing {
    fn new(
        step: FirstStep,
        health: HealthLevel,
        word: &'static str,
        what: impl Into<String>,
    ) -> Self {
        Self {
            step,
            health,
            word,
            what: what.into(),
            fix: String::new(),
        }
    }
}

/// Every step in its order.
#[must_use]
pub fn steps(app: &App) -> [Standing; 5] {
    let npub: String = app.store.npub.chars().take(20).collect();
    let identity = format!(
        "{}… is yours; keep a copy: vend keys export",
        clean(&npub, 20)
    );
    [
        Standing::new(FirstStep::Identity, HealthLevel::Ok, "done", identity),
        wallet(app),
        of_kind(app, FirstStep::Model),
        of_kind(app, FirstStep::Relays),
        sale(app),
    ]
}

fn wallet(app: &App) -> Standing {
    let mut step = of_kind(app, FirstStep::Wallet);
    let sandbox = app.form.in_file("wallet.backend").as_deref() == Some("sandbox");
    let demo = app.banner.is_some();
    if !demo && step.health != HealthLevel::Down && (app.store.wallet.sandbox || sandbox) {
        (step.health, step.word) = (HealthLevel::Warn, "play");
        "sandbox: play money, no buyer can pay it".clone_into(&mut step.what);
        "Enter: wallet.backend names a real wallet".clone_into(&mut step.fix);
    }
    step
}

fn sale(app: &App) -> Standing {
    let (word, what) = match app.store.state {
        ShopState::Offline => ("open", format!("go online: {}", toggle_key(app))),
        ShopState::Starting => ("wait", "the shop is being opened".to_owned()),
        _ if app.store.queue.running > 0 => ("wait", "a job is running".to_owned()),
        _ => ("wait", "a buyer asks, is answered and pays".to_owned()),
    };
    Standing::new(FirstStep::Sale, HealthLevel::Unknown, word, what)
}

/// What a light, a test or the settings say of a step.
fn of_kind(app: &App, step: FirstStep) -> Standing {
    let tested = tested(app, step);
    if app.store.state == ShopState::Offline
        && let Some(tested) = tested
    {
        return tested;
    }
    let kind = step.kind();
    let lights: Vec<HealthIndicator> = (indicators(app).into_iter())
        .filter(|light| light.kind == kind && light.health != HealthLevel::Unknown)
        .collect();
    let well = lights
        .iter()
        .filter(|light| light.health == HealthLevel::Ok);
    let well = well.count();
    if let Some(worst) = lights
        .iter()
        .rev()
        .max_by_key(|light| badness(light.health))
    {
        let many = match lights.len() {
            1 => String::new(),
            all => format!("{well} of {all}; "),
        };
        return Standing {
            fix: worst.fix.clone(),
            ..Standing::new(
                step,
                worst.health,
                word(worst.health),
                format!("{many}{} {}", worst.name, worst.what),
            )
        };
    }
    let value = set(app, step.key().unwrap_or_default());
    let what = match (value.is_empty(), app.attached) {
        (true, false) => format!("{} is not set", step.key().unwrap_or_default()),
        (true, true) => "not looked at yet".to_owned(),
        (false, _) => format!("{value}, not checked yet"),
    };
    Standing::new(step, HealthLevel::Unknown, "open", what)
}

/// What the tests of a step showed; none where none was made.
fn tested(app: &App, step: FirstStep) -> Option<Standing> {
    let of_step = |probe: &&Probe| {
        matches!(
            (step, probe),
            (FirstStep::Wallet, Probe::Wallet)
                | (FirstStep::Model, Probe::Endpoint { .. })
                | (FirstStep::Relays, Probe::Relay { .. })
        )
    };
    let tests = || app.form.tests.iter().filter(|(probe, _)| of_step(probe));
    tests().next()?;
    if tests().any(|(_, state)| *state == TestState::Running) {
        return Some(Standing::new(
            step,
            HealthLevel::Unknown,
            "wait",
            "is being checked",
        ));
    }
    let refused = tests().find_map(|(_, state)| match state {
        TestState::Refused(why) => Some(why),
        _ => None,
    });
    if let Some(why) = refused {
        let why = clean(why, DETAIL);
        return Some(Standing::new(step, HealthLevel::Down, "down", why));
    }
    let checks = || {
        tests().flat_map(|(_, state)| match state {
            TestState::Done(checks) => checks.as_slice(),
            _ => &[],
        })
    };
    let well = checks().filter(|check| check.status == CheckStatus::Ok);
    let well = well.count();
    let worst = checks().max_by_key(|check| badness(health_of(check.status)))?;
    let health = health_of(worst.status);
    let many = match checks().count() {
        1 => String::new(),
        all => format!("{well} of {all} well; "),
    };
    Some(Standing {
        fix: clean(&worst.fix, DETAIL),
        ..Standing::new(
            step,
            health,
            word(health),
            format!("{many}{}", clean(&worst.detail, DETAIL)),
        )
    })
}

/// A line for each step, and under it what mends it, where there is room for that: first for what is chosen.
pub fn lines(app: &App, theme: Theme, width: u16, height: u16) -> Vec<Line> {
    let chosen = app.first_step();
    let steps = steps(app);
    let fits = |mends: &dyn Fn(FirstStep) -> bool| {
        let mut lines = Vec::new();
        for one in &steps {
            lines.push(line(one, theme, one.step == chosen));
            if mends(one.step) {
                lines.extend(fix(one, theme, width));
            }
        }
        (lines.len() <= usize::from(height)).then_some(lines)
    };
    fits(&|_| true)
        .or_else(|| fits(&|step| step == chosen))
        .unwrap_or_else(|| {
            let each = steps.iter();
            each.map(|one| line(one, theme, one.step == chosen))
                .collect()
        })
}

fn line(one: &Standing, theme: Theme, chosen: bool) -> Line {
    let (cursor, name) = if chosen {
        (theme.arrow(), Role::Selected)
    } else {
        (" ", Role::Title)
    };
    let title = one.step.title();
    vec![
        piece(format!("{cursor} "), Role::Key),
        piece(
            format!("{} {:<5}", theme.mark(one.health), one.word),
            of_health(one.health),
        ),
        piece(title, name),
        piece(" ".repeat(11_usize.saturating_sub(title.len())), Role::Text),
        piece(one.what.clone(), Role::Text),
    ]
}

fn fix(one: &Standing, theme: Theme, width: u16) -> Vec<Line> {
    let lead = usize::from(BEFORE) - 2;
    let texts = words(&one.fix, width.saturating_sub(BEFORE), 2);
    let each = texts.into_iter().enumerate();
    each.map(|(index, text)| {
        let arrow = if index == 0 { theme.arrow() } else { " " };
        vec![
            piece(format!("{}{arrow} ", " ".repeat(lead)), Role::Key),
            piece(text, Role::Text),
        ]
    })
    .collect()
}
