//! What is being done now, what waits, what was done last, and how busy the machine is with it.

use super::{Line, count, piece};
use crate::domain::health::ShopState;
use crate::domain::job::{JobView, Status};
use crate::domain::load::MachineLoad;
use crate::domain::text::clean;
use crate::store::{Store, has_ended};
use crate::ui::app::App;
use crate::ui::theme::{Role, Theme};

/// The longest name of a model, in characters.
const MODEL: usize = 60;
/// Bytes of a gibibyte, and of a tenth of it.
const TENTH: u64 = 1024 * 1024 * 1024 / 10;

/// The title of the box.
pub fn title(store: &Store) -> String {
    format!(
        "Now: {} running, {} waiting",
        store.queue.running, store.queue.waiting
    )
}

/// Running jobs, waiting ones, the last that ended, and the machine at the foot.
pub fn lines(app: &App, theme: Theme, width: u16, height: u16) -> Vec<Line> {
    let store = &app.store;
    let load = store.load.as_ref().map(machine);
    let room = usize::from(height).saturating_sub(usize::from(load.is_some() && height > 1));
    let mut lines: Vec<Line> = store
        .running()
        .map(|job| running(store, job, theme, width))
        .collect();
    if lines.is_empty() {
        let idle = if store.state == ShopState::Offline && store.queue.waiting > 0 {
            "nothing is running; what waits goes on when it is online again"
        } else {
            "nothing is running"
        };
        lines.push(vec![piece(idle, Role::Dim)]);
    }
    if lines.len() > room && room > 1 {
        let more = lines.len() + 1 - room;
        lines.truncate(room.saturating_sub(1));
        lines.push(vec![piece(format!("and {more} more running"), Role::Dim)]);
    }
    for job in store.waiting().take(room - lines.len().min(room)) {
        lines.push(other(app, job, width, Role::Text));
    }
    let ended = store.jobs.newest_first().filter(|job| is_over(job.status));
    for job in ended.take(room - lines.len().min(room)) {
        lines.push(other(app, job, width, Role::Dim));
    }
    lines.truncate(room);
    if height > 1 {
        lines.resize_with(room, Line::new);
        lines.extend(load);
    }
    lines
}

/// Nothing more is worked on it; its money may still come.
const fn is_over(status: Status) -> bool {
    has_ended(status) || matches!(status, Status::PendingPayment)
}

/// A job at work: `running   03030303 gemma2:latest  63 of 512 tokens  31.5 tok/s  2 s  ██░░░░`.
pub fn running(store: &Store, job: &JobView, theme: Theme, width: u16) -> Line {
    let progress = store.jobs.progress_of(&job.id).unwrap_or_default();
    let tokens = match progress.of {
        Some(of) => format!("{} of {of} tokens", progress.tokens),
        None => format!("{} tokens", progress.tokens),
    };
    let seconds = progress.elapsed_ms / 1_000;
    let mut line = vec![
        piece("running   ", Role::Good),
        piece(format!("{} ", job.id.short()), Role::Text),
        piece(
            format!(
                "{tokens:<17} {:>5.1} tok/s {seconds:>4} s ",
                progress.speed()
            ),
            Role::Text,
        ),
    ];
    let taken: usize = line.iter().map(|(text, _)| text.chars().count()).sum();
    let left = usize::from(width).saturating_sub(taken);
    let bar = if left >= 40 {
        20
    } else {
        left.saturating_sub(14).min(8)
    };
    if let Some(part) = progress.part().filter(|_| bar >= 4) {
        let (full, open) = theme.bar();
        let done = part_of(part, bar);
        line.push(piece(full.repeat(done), Role::Chart));
        line.push(piece(open.repeat(bar - done), Role::Dim));
        line.push(piece(" ", Role::Text));
    }
    let model = clean(job.model.as_deref().unwrap_or("-"), MODEL);
    line.push(piece(model, Role::Dim));
    line
}

/// Whole columns of a bar.
#[allow(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    clippy::cast_precision_loss
)] // a part of 0 to 1 of a few columns
fn part_of(part: f64, columns: usize) -> usize {
    let done = (part * columns as f64) as usize;
    done.clamp(usize::from(part > 0.0), columns)
}

/// A job that waits or has ended: `paid      01010101  11:06  21 sats  112 tokens  gemma2:latest`.
fn other(app: &App, job: &JobView, width: u16, role: Role) -> Line {
    let word = match job.status {
        Status::Queued => "waiting",
        Status::PendingPayment => "delivered",
        status => status.as_str(),
    };
    let shown = match job.status {
        Status::Error | Status::Unpaid => Role::Warn,
        Status::Paid | Status::Completed => Role::Good,
        _ => role,
    };
    let amount = job
        .price_msat
        .map_or_else(|| "-".to_owned(), |price| price.display().to_string());
    let tokens = job.completion_tokens.map_or_else(String::new, |tokens| {
        format!("{} tokens", count(u64::from(tokens)))
    });
    let mut line = vec![
        piece(format!("{word:<10}"), shown),
        piece(format!("{} ", job.id.short()), role),
        piece(format!("{} ", app.here(job.created_at).clock()), Role::Dim),
        piece(format!("{amount:>13}  {tokens:<13} "), role),
    ];
    let model = clean(job.model.as_deref().unwrap_or("-"), MODEL);
    line.push(piece(model, Role::Dim));
    if let Some(error) = job.error.as_deref().filter(|_| width > 79) {
        line.push(piece(format!("  {}", clean(error, 200)), Role::Text));
    }
    line
}

/// `machine  processors 42 %  memory 3.1 of 16.0 GiB  card0 97 %, 5.0 of 8.0 GiB`.
pub fn machine(load: &MachineLoad) -> Line {
    let mut parts = vec![format!("processors {} %", load.cpu_percent)];
    if load.memory_total > 0 {
        parts.push(format!(
            "memory {} of {} GiB",
            gib(load.memory_used),
            gib(load.memory_total)
        ));
    }
    for gpu in &load.gpus {
        let mut words = vec![clean(&gpu.name, 40)];
        words.extend(gpu.busy_percent.map(|busy| format!("{busy} %")));
        if let (Some(used), Some(total)) = (gpu.memory_used, gpu.memory_total) {
            words.push(format!("{} of {} GiB", gib(used), gib(total)));
        }
        parts.push(words.join(" "));
    }
    vec![
        piece("machine   ", Role::Dim),
        piece(parts.join("  "), Role::Text),
    ]
}

/// Bytes in GiB with one digit after the point.
fn gib(bytes: u64) -> String {
    let tenths = bytes / TENTH;
    format!("{}.{}", tenths / 10, tenths % 10)
}
