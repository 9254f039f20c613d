//! One job with everything that is kept of it, small enough for one line of the control socket.
//!
//! A line has at most 1 MiB, and a byte of text can take six in JSON (`\u001b`). So every text is bounded by what it
//! takes there, and what was cut is said.

use serde::{Deserialize, Serialize};

use super::job::{Job, JobView, PayOrder, Texts, TimelineEntry};

/// What the prompt may take, bytes of JSON.
const PROMPT: usize = 128 << 10;
/// What the answer may take, bytes of JSON.
const ANSWER: usize = 192 << 10;
/// What the request may take, bytes of JSON.
const REQUEST: usize = 192 << 10;
/// What the seller's events may take together, bytes of JSON.
const EVENTS: usize = 256 << 10;
/// What the history may take, bytes of JSON.
const TIMELINE: usize = 96 << 10;
/// What a page of jobs may take, bytes of JSON.
const PAGE: usize = 900 << 10;
/// What one short text of a job (model, error, invoice) may take, bytes of JSON.
const SHORT: usize = 8 << 10;

/// A signed event of the seller.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RawEvent {
    /// processing, result, success, …
    pub role: String,
    /// The event as it was signed.
    pub json: String,
}

/// A text that was too long.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Cut {
    /// prompt, answer, request, timeline, or an event's role.
    pub what: String,
    /// Bytes that are here; of the timeline its lines.
    pub kept: u64,
    /// Bytes, or lines, there are.
    pub whole: u64,
}

/// A job with its history and, while they are kept, its texts and events.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct JobDetail {
    /// The job.
    pub job: JobView,
    /// When the buyer pays.
    pub order: PayOrder,
    /// The endpoint that answered.
    pub endpoint: Option<String>,
    /// Runs of inference so far.
    pub attempts: u32,
    /// The relay the request came from.
    pub seen_on: String,
    /// Its history, oldest first.
    pub timeline: Vec<TimelineEntry>,
    /// What is asked, until erased.
    pub prompt: Option<String>,
    /// What was answered, until erased.
    pub answer: Option<String>,
    /// The request event as it came, until erased.
    pub request: Option<String>,
    /// The seller's events as they were signed, until erased.
    pub events: Vec<RawEvent>,
    /// What was too long.
    pub cut: Vec<Cut>,
}

impl JobDetail {
    /// Puts a job together with its texts, its history and its events (role, JSON), each bounded.
    #[must_use]
    pub fn of(
        job: &Job,
        texts: Option<&Texts>,
        timeline: Vec<TimelineEntry>,
        events: Vec<(String, String)>,
    ) -> Self {
        let mut cut = Vec::new();
        let answer = job.answer.as_ref();
        let prompt = texts.map(|texts| texts.prompt.as_str());
        let text = texts.and_then(|texts| texts.answer.as_deref());
        let request = texts.map(|texts| texts.request_json.as_str());
        Self {
            job: bounded_view(job.view()),
            order: job.terms.order,
            endpoint: answer.map(|a| bounded(&a.endpoint, SHORT).to_owned()),
            attempts: job.attempts,
            seen_on: bounded(&job.terms.seen_on, SHORT).to_owned(),
            timeline: history(timeline, &mut cut),
            prompt: kept("prompt", prompt, PROMPT, &mut cut),
            answer: kept("answer", text, ANSWER, &mut cut),
            request: kept("request", request, REQUEST, &mut cut),
            events: signed(events, &mut cut),
            cut,
        }
    }
}

/// The jobs of a page, each bounded; those that would not fit into one line any more are left out.
#[must_use]
pub fn bounded_page(jobs: Vec<JobView>) -> Vec<JobView> {
    let mut room = PAGE;
    let mut page = Vec::with_capacity(jobs.len());
    for job in jobs.into_iter().map(bounded_view) {
        // A job that can't be written is as good as one that does not fit.
        let size = serde_json::to_string(&job).map_or(usize::MAX, |json| json.len() + 1);
        let Some(left) = room.checked_sub(size) else {
            break;
        };
        room = left;
        page.push(job);
    }
    page
}

fn bounded_view(mut job: JobView) -> JobView {
    for text in [&mut job.model, &mut job.error] {
        *text = text.as_deref().map(|text| bounded(text, SHORT).to_owned());
    }
    // Half an invoice is of no use to anybody.
    job.bolt11 = job.bolt11.filter(|text| in_json(text) <= SHORT);
    job
}

fn history(timeline: Vec<TimelineEntry>, cut: &mut Vec<Cut>) -> Vec<TimelineEntry> {
    let whole = timeline.len();
    let mut room = TIMELINE;
    // The latest lines say how it stands now, so they are kept first.
    let mut kept: Vec<TimelineEntry> = timeline
        .into_iter()
        .rev()
        .map_while(|entry| {
            let entry = TimelineEntry {
                detail: bounded(&entry.detail, SHORT).to_owned(),
                ..entry
            };
            let size = serde_json::to_string(&entry).map_or(usize::MAX, |json| json.len() + 1);
            room = room.checked_sub(size)?;
            Some(entry)
        })
        .collect();
    kept.reverse();
    note("timeline", kept.len(), whole, cut);
    kept
}

fn kept(what: &str, text: Option<&str>, room: usize, cut: &mut Vec<Cut>) -> Option<String> {
    let text = text?;
    let kept = bounded(text, room);
    note(what, kept.len(), text.len(), cut);
    Some(kept.to_owned())
}

fn signed(events: Vec<(String, String)>, cut: &mut Vec<Cut>) -> Vec<RawEvent> {
    let mut room = EVENTS;
    events
        .into_iter()
        .map(|(role, json)| {
            let kept = bounded(&json, room);
            room -= in_json(kept);
            note(&role, kept.len(), json.len(), cut);
            RawEvent {
                role,
                json: kept.to_owned(),
            }
        })
        .collect()
}

fn note(what: &str, kept: usize, whole: usize, cut: &mut Vec<Cut>) {
    if kept < whole {
        cut.push(Cut {
            what: what.to_owned(),
            kept: kept as u64,
            whole: whole as u64,
        });
    }
}

/// The beginning that takes at most `room` bytes in JSON.
fn bounded(text: &str, room: usize) -> &str {
    let mut took = 0;
    for (at, c) in text.char_indices() {
        took += width(c);
        if took > room {
            return &text[..at];
        }
    }
    text
}

fn in_json(text: &str) -> usize {
    text.chars().map(width).sum()
}

/// What a character takes within a JSON string, as `serde_json` writes it.
const fn width(c: char) -> usize {
    match c {
        '"' | '\\' | '\u{8}' | '\u{9}' | '\u{a}' | '\u{c}' | '\u{d}' => 2,
        '\u{0}'..='\u{1f}' => 6,
        c => c.len_utf8(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::time::Time;
    use proptest::prelude::*;

    #[test]
    fn everything_together_fits_into_a_line() {
        let sum = PROMPT + ANSWER + REQUEST + EVENTS + TIMELINE + 6 * SHORT;
        assert!(sum < (1 << 20) - (64 << 10), "{sum}");
    }

    #[test]
    fn the_latest_history_is_kept_and_the_rest_is_counted() {
        let entry = |at: i64| TimelineEntry {
            at: Time(at),
            what: "run_failed".to_owned(),
            detail: "\u{1b}".repeat(9_999),
        };
        let mut cut = Vec::new();
        let kept = history((0..500).map(entry).collect(), &mut cut);
        assert_eq!(kept.last().unwrap().at, Time(499));
        assert_eq!(cut[0].whole, 500);
        assert_eq!(cut[0].kept, kept.len() as u64);
        assert!(serde_json::to_string(&kept).unwrap().len() <= TIMELINE + 2);
    }

    #[test]
    fn events_share_one_bound() {
        let mut cut = Vec::new();
        let long = "\\".repeat(EVENTS);
        let events = signed(
            vec![
                ("result".to_owned(), long.clone()),
                ("success".to_owned(), long),
            ],
            &mut cut,
        );
        assert_eq!(events[0].json.len(), EVENTS / 2);
        assert!(events[1].json.is_empty());
        assert_eq!(cut.len(), 2);
    }

    proptest! {
        #[test]
        fn a_bound_is_what_json_takes(text in any::<String>(), room in 0_usize..200) {
            prop_assert_eq!(in_json(&text) + 2, serde_json::to_string(&text).unwrap().len());
            prop_assert!(in_json(bounded(&text, room)) <= room);
        }
    }
}
