//! The table's columns: as many as the width has room for, the most telling ones first.

use ratatui::layout::Rect;

use super::super::clock;
use crate::domain::job::{JobView, Status};
use crate::domain::query::{JobsQuery, Sort};
use crate::domain::text::clean;
use crate::domain::time::Time;
use crate::store::Progress;
use crate::ui::app::App;
use crate::ui::jobs_list::npub;
use crate::ui::painter::Painter;
use crate::ui::theme::Role;

/// A column of the table, in the order in which they stand.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Column {
    /// When it was admitted.
    Time,
    /// The beginning of its id.
    Job,
    /// The beginning of the buyer's npub.
    Buyer,
    /// The request's kind.
    Kind,
    /// Its status.
    Status,
    /// What it costs.
    Amount,
    /// The model.
    Model,
    /// Output tokens.
    Tokens,
    /// Output tokens per second.
    Speed,
    /// Seconds of inference.
    Seconds,
    /// What is owed to the buyer.
    Owed,
}

use Column::{Amount, Buyer, Job, Kind, Model, Owed, Seconds, Speed, Tokens};

/// In the order in which they stand.
const ALL: [Column; 11] = [
    Column::Time,
    Job,
    Buyer,
    Kind,
    Column::Status,
    Amount,
    Model,
    Tokens,
    Speed,
    Seconds,
    Owed,
];

/// In the order in which room is made for them; the first four are always there.
const BY_WORTH: [Column; 11] = [
    Column::Time,
    Job,
    Column::Status,
    Amount,
    Model,
    Tokens,
    Buyer,
    Kind,
    Seconds,
    Speed,
    Owed,
];

/// Where a column stands: from the left edge on, so wide.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place {
    /// Which.
    pub column: Column,
    /// Columns of the terminal before it.
    pub x: u16,
    /// Columns of the terminal.
    pub width: u16,
}

impl Column {
    const fn title(self) -> &'static str {
        match self {
            Self::Time => "time",
            Self::Job => "job",
            Self::Buyer => "buyer",
            Self::Kind => "kind",
            Self::Status => "status",
            Self::Amount => "amount",
            Self::Model => "model",
            Self::Tokens => "tokens",
            Self::Speed => "tok/s",
            Self::Seconds => "seconds",
            Self::Owed => "owed",
        }
    }

    /// The least width, and the most that it is given where there is room.
    const fn widths(self) -> (u16, u16) {
        match self {
            Self::Time | Self::Amount => (11, 11),
            Self::Job => (8, 16),
            Self::Buyer => (11, 24),
            Self::Kind | Self::Speed => (5, 5),
            Self::Status => (16, 16),
            Self::Model => (9, 40),
            Self::Tokens => (6, 6),
            Self::Seconds => (7, 7),
            Self::Owed => (10, 10),
        }
    }

    /// The order that goes by it.
    const fn sort(self) -> Option<Sort> {
        match self {
            Self::Time => Some(Sort::Time),
            Self::Amount => Some(Sort::Amount),
            Self::Status => Some(Sort::Status),
            Self::Tokens => Some(Sort::Tokens),
            Self::Seconds => Some(Sort::Seconds),
            _ => None,
        }
    }

    const fn is_number(self) -> bool {
        matches!(
            self,
            Self::Amount | Self::Tokens | Self::Speed | Self::Seconds | Self::Owed
        )
    }
}

/// The columns for a width, with a blank between them.
#[must_use]
pub fn places(width: u16) -> Vec<Place> {
    let mut room = width;
    let mut shown = Vec::new();
    for (index, column) in BY_WORTH.into_iter().enumerate() {
        let needs = column.widths().0 + u16::from(index > 0);
        match room.checked_sub(needs) {
            Some(left) => room = left,
            None if index < 4 => room = 0,
            // A narrower one of less worth does not take its place, or columns would jump about.
            None => break,
        }
        shown.push(column);
    }
    let mut x = 0;
    let mut places = Vec::new();
    for column in ALL.into_iter().filter(|column| shown.contains(column)) {
        let (least, _) = column.widths();
        places.push(Place {
            column,
            x: 0,
            width: least,
        });
    }
    for widest in [Model, Job, Buyer] {
        if let Some(place) = places.iter_mut().find(|place| place.column == widest) {
            let more = (widest.widths().1 - place.width).min(room);
            place.width += more;
            room -= more;
        }
    }
    for place in &mut places {
        place.x = x;
        x += place.width + 1;
    }
    places
}

/// Draws the titles.
pub fn head(painter: &mut Painter<'_>, area: Rect, places: &[Place], query: &JobsQuery) {
    let mark = painter.theme.order(query.ascending);
    for place in places {
        let title = place.column.title();
        cell(painter, area, 0, *place, title, Role::Dim);
        if place.column.sort() != Some(query.sort) {
            continue;
        }
        let long = u16::try_from(title.len()).unwrap_or(0);
        // Beside the title; before a number's, in the blank between the columns where the column is full.
        let x = if place.column.is_number() {
            (place.x + place.width).saturating_sub(long + 1)
        } else {
            place.x + long
        };
        painter.put(area.x + x, area.y, 1, mark, Role::Title);
    }
}

/// Draws one job.
pub fn row(
    app: &App,
    painter: &mut Painter<'_>,
    area: Rect,
    row: u16,
    places: &[Place],
    job: &JobView,
    role: Role,
) {
    if row >= area.height {
        return;
    }
    if role == Role::Selected {
        painter.fill(Rect::new(area.x, area.y + row, area.width, 1), role);
    }
    let progress = app.store.jobs.progress_of(&job.id);
    let progress = progress.filter(|_| job.status == Status::Processing);
    for place in places {
        let mut text = word(place.column, job, progress, app);
        if matches!(place.column, Job | Buyer) {
            // Of a name that means nothing, its beginning says as much with no mark of what is left out.
            text.truncate(place.width.into());
        }
        // Only the status has its colour: a job that is paid then changes one cell of a screen far away, not a row of them.
        let plain = role != Role::Selected && place.column != Column::Status;
        let role = if plain { Role::Text } else { role };
        cell(painter, area, row, *place, &text, role);
    }
}

fn cell(painter: &mut Painter<'_>, area: Rect, row: u16, place: Place, text: &str, role: Role) {
    let x = area.x.saturating_add(place.x);
    let left = area.right().saturating_sub(x).min(place.width);
    if left == 0 || row >= area.height {
        return;
    }
    // Numbers are ASCII, so their characters are their columns.
    let blank = if place.column.is_number() {
        left.saturating_sub(u16::try_from(text.len()).unwrap_or(left))
    } else {
        0
    };
    painter.put(x + blank, area.y + row, left - blank, text, role);
}

fn word(column: Column, job: &JobView, progress: Option<Progress>, app: &App) -> String {
    let some = |value: Option<String>| value.unwrap_or_else(|| "-".to_owned());
    match column {
        Column::Time => moment(app.here(job.created_at), app.here(app.store.now)),
        Job => job.id.to_string(),
        Buyer => npub(&job.buyer),
        Kind => job.kind.to_string(),
        Column::Status => job.status.as_str().to_owned(),
        Amount => some(job.price_msat.map(|price| price.display().to_string())),
        Model => some(job.model.as_deref().map(|model| clean(model, 60))),
        Tokens => some(tokens(job, progress).map(|tokens| tokens.to_string())),
        Speed => some(speed(job, progress).map(|speed| format!("{speed:.1}"))),
        Seconds => some(elapsed(job, progress).map(seconds)),
        Owed if job.owed_to_buyer_msat.is_zero() => "-".to_owned(),
        Owed => job.owed_to_buyer_msat.display().to_string(),
    }
}

fn tokens(job: &JobView, progress: Option<Progress>) -> Option<u32> {
    job.completion_tokens.or(progress.map(|now| now.tokens))
}

fn elapsed(job: &JobView, progress: Option<Progress>) -> Option<u64> {
    job.elapsed_ms.or(progress.map(|now| now.elapsed_ms))
}

/// Output tokens per second of a job that is at work or done.
#[must_use]
pub fn speed(job: &JobView, progress: Option<Progress>) -> Option<f64> {
    let now = Progress {
        tokens: tokens(job, progress)?,
        elapsed_ms: elapsed(job, progress)?,
        ..Progress::default()
    };
    (now.elapsed_ms > 0).then(|| now.speed())
}

/// Milliseconds as seconds with a tenth.
#[must_use]
pub fn seconds(ms: u64) -> String {
    format!("{}.{}", ms / 1_000, ms % 1_000 / 100)
}

/// A moment as short as it can be told: today's time, this year's day and time, or the day.
fn moment(at: Time, now: Time) -> String {
    let (day, today) = (at.day(), now.day());
    if day == today {
        return clock(at);
    }
    if day.get(..4) == today.get(..4) {
        let time: String = clock(at).chars().take(5).collect();
        return format!("{} {time}", day.get(5..).unwrap_or_default());
    }
    day
}

#[cfg(test)]
mod tests {
    use super::*;

    fn titles(width: u16) -> Vec<&'static str> {
        let places = places(width);
        places.iter().map(|place| place.column.title()).collect()
    }

    #[test]
    fn more_room_shows_more_columns_and_never_takes_one_away() {
        assert_eq!(titles(58), ["time", "job", "status", "amount"]);
        assert_eq!(
            titles(78),
            [
                "time", "job", "buyer", "status", "amount", "model", "tokens"
            ]
        );
        assert_eq!(titles(198).len(), ALL.len());
        for width in 0..250 {
            let (here, wider) = (places(width), places(width + 1));
            assert!(
                here.iter()
                    .all(|one| wider.iter().any(|other| one.column == other.column))
            );
            assert!(
                wider
                    .iter()
                    .all(|place| place.width >= place.column.widths().0)
            );
            let ends = here.iter().zip(here.iter().skip(1));
            assert!(
                ends.clone()
                    .all(|(a, b)| a.x + a.width < b.x || a.x + a.width + 1 == b.x)
            );
            let last = here.last().unwrap();
            assert!(width < 49 || last.x + last.width <= width, "{width}");
        }
    }

    #[test]
    fn a_moment_tells_its_day_where_that_is_another() {
        let at = Time::parse("2026-11-18T11:06:40Z").unwrap();
        let on = |day: &str| moment(at, Time::parse(day).unwrap());
        assert_eq!(on("2026-11-18"), "11:06:40");
        assert_eq!(on("2026-11-19"), "11-18 11:06");
        assert_eq!(on("2027-01-01"), "2026-11-18");
    }
}
