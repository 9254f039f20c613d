//! The steps of a first start: which one is chosen, and what Enter does with it.

use super::{Action, App};
use crate::config::keys::Section;
use crate::domain::command::{Command, Probe};
use crate::domain::health::{HealthLevel, ShopState};
use crate::ui::keymap::Tab;
use crate::ui::view;

/// The most relays and servers that are checked at once.
const CHECKED_MAX: usize = 16;

/// What a shop needs until its first sale.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FirstStep {
    /// A key.
    Identity,
    /// Where the money goes.
    Wallet,
    /// What answers.
    Model,
    /// Where buyers are heard.
    Relays,
    /// Somebody has paid.
    Sale,
}

impl FirstStep {
    /// In their order.
    pub const ALL: [Self; 5] = [
        Self::Identity,
        Self::Wallet,
        Self::Model,
        Self::Relays,
        Self::Sale,
    ];

    /// Its name.
    #[must_use]
    pub const fn title(self) -> &'static str {
        match self {
            Self::Identity => "identity",
            Self::Wallet => "wallet",
            Self::Model => "model",
            Self::Relays => "relays",
            Self::Sale => "first sale",
        }
    }

    /// The kind of the lights that tell of it.
    #[must_use]
    pub const fn kind(self) -> &'static str {
        match self {
            Self::Identity => "key",
            Self::Wallet => "wallet",
            Self::Model => "model",
            Self::Relays => "relay",
            Self::Sale => "",
        }
    }

    /// The setting that it leads to.
    #[must_use]
    pub const fn key(self) -> Option<&'static str> {
        match self {
            Self::Wallet => Some("wallet.backend"),
            Self::Model => Some("text.model"),
            Self::Relays => Some("nostr.relays"),
            Self::Identity | Self::Sale => None,
        }
    }
}

impl App {
    /// Are the steps shown? Until something was sold; and not before the shop has told of itself.
    #[must_use]
    pub fn is_first_start(&self) -> bool {
        let totals = &self.store.totals;
        !self.store.npub.is_empty() && totals.successful == 0 && totals.funnel.paid == 0
    }

    /// The chosen step: by the keys, else the first that failed, else the sale.
    #[must_use]
    pub fn first_step(&self) -> FirstStep {
        self.step.unwrap_or_else(|| {
            let steps = view::first_steps(self);
            let failed = (steps.iter()).find(|one| one.health == HealthLevel::Down);
            failed.map_or(FirstStep::Sale, |one| one.step)
        })
    }

    pub(super) fn go_step(&mut self, moved: impl FnOnce(usize, usize) -> usize) {
        if !self.is_first_start() {
            return;
        }
        let here = self.first_step();
        let at = FirstStep::ALL.iter().position(|step| *step == here);
        let to = moved(at.unwrap_or(0), FirstStep::ALL.len() - 1);
        self.step = FirstStep::ALL.get(to).copied();
    }

    /// Enter: the setting of the step, or the step itself.
    pub(super) fn do_step(&mut self) -> Vec<Action> {
        let step = self.first_step();
        if let Some(key) = step.key() {
            let actions = self.show(Tab::Settings);
            self.form.choose(key);
            return actions;
        }
        match step {
            FirstStep::Sale if self.store.state == ShopState::Offline => return self.toggle(),
            FirstStep::Sale => {
                self.message = Some(
                    "nothing to do but wait: the first buyer who pays ends this list; o goes offline"
                        .to_owned(),
                );
            }
            _ => {
                self.message = Some(
                    "this key is the shop: `vend keys export` keeps it, `vend keys import` takes another; y copies the npub"
                        .to_owned(),
                );
            }
        }
        Vec::new()
    }

    /// Checks the wallet, every server and every relay of the settings at once.
    pub(super) fn check_all(&mut self) -> Vec<Action> {
        if !self.is_first_start() {
            self.message = Some("`vend doctor` checks everything at once".to_owned());
            return Vec::new();
        }
        let mut probes = vec![Probe::Wallet];
        for cell in &self.form.cells {
            if cell.field.name == "nostr.relays" {
                let urls = cell.entries().iter().cloned();
                probes.extend(urls.map(|url| Probe::Relay { url }));
            }
            if cell.field.key.section == Section::Endpoint
                && let Some(name) = cell.field.table.clone()
            {
                probes.push(Probe::Endpoint { name });
            }
        }
        probes.sort();
        probes.dedup();
        probes.sort_by_key(|probe| *probe != Probe::Wallet);
        probes.truncate(CHECKED_MAX);
        let begun = probes.into_iter().filter(|probe| self.form.testing(probe));
        let actions: Vec<Action> = begun
            .map(|what| Action::Send(Command::Test { what }))
            .collect();
        // What failed before is asked again: the cursor goes to what fails now.
        self.step = None;
        actions
    }
}
