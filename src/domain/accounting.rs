//! The books: a row for each confirmed payment, and what it was worth in the seller's own money.

use std::collections::BTreeMap;

use serde::Serialize;

use super::hex32::Hex32;
use super::id::{Buyer, PaymentHash, RequestId};
use super::msat::Msat;
use super::time::Time;

/// The largest file of rates, bytes: two hundred years of days have room.
pub const RATES_MAX: u64 = 4 << 20;
/// Decimals of a rate and of a value.
const DECIMALS: usize = 6;
/// Msat in one bitcoin.
const MSAT_PER_BITCOIN: u128 = 100_000_000_000;

/// One confirmed payment.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Receipt {
    /// When the wallet confirmed it.
    pub paid_at: Option<Time>,
    /// The job that was paid for.
    pub job: RequestId,
    /// Who paid.
    pub buyer: Buyer,
    /// What arrived.
    pub amount_msat: Msat,
    /// The invoice's hash.
    pub payment_hash: Option<PaymentHash>,
    /// The wallet's backend.
    pub wallet: String,
    /// The model that answered.
    pub model: String,
    /// Input and output tokens.
    pub tokens: Option<u32>,
    /// The same amount in sats, as a decimal number.
    pub amount_sat: String,
    /// The proof of the payment, where the wallet gave it.
    pub preimage: Option<Hex32>,
    /// What the wallet took for it, where it said so.
    pub fee_msat: Option<Msat>,
    /// What was marked as given back.
    pub refunded_msat: Msat,
    /// What of it was left when the work was done, and became the buyer's balance.
    pub left_msat: Msat,
    /// The offer that it was for.
    pub offer: Option<String>,
    /// What it was worth, six decimals; none where no rate is known.
    pub value: Option<String>,
    /// In which money.
    pub currency: Option<String>,
    /// The price of one bitcoin that was taken.
    pub rate: Option<String>,
    /// Of which day that price is.
    pub rate_date: Option<String>,
}

impl Receipt {
    /// Fills in what the payment was worth on its day.
    pub fn rate(&mut self, rates: &Rates, currency: &str) {
        self.currency = Some(currency.to_owned());
        let Some((day, rate)) = self.paid_at.and_then(|at| rates.on(&at.day())) else {
            return;
        };
        self.value = Some(decimal(rate.value(self.amount_msat)));
        self.rate = Some(decimal(rate.0));
        self.rate_date = Some(day.to_owned());
    }
}

/// Msat as sats, without needless zeros.
#[must_use]
pub fn sats(amount: Msat) -> String {
    let (whole, rest) = (amount.0 / 1_000, amount.0 % 1_000);
    if rest == 0 {
        return whole.to_string();
    }
    format!("{whole}.{rest:03}")
        .trim_end_matches('0')
        .to_owned()
}

/// The price of one bitcoin, in millionths of the currency.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rate(u128);

impl Rate {
    /// What an amount is worth, in millionths, rounded to the nearest.
    fn value(self, amount: Msat) -> u128 {
        // Both have far fewer than 64 bits: a rate below 10^18, the most money there is below 2^61.
        (u128::from(amount.0) * self.0 + MSAT_PER_BITCOIN / 2) / MSAT_PER_BITCOIN
    }

    fn parse(text: &str) -> Option<Self> {
        let (whole, part) = text.split_once('.').unwrap_or((text, ""));
        let digits = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
        let fits = !whole.is_empty() && whole.len() <= 12 && part.len() <= DECIMALS;
        if !fits || !digits(whole) || !digits(part) || text.ends_with('.') {
            return None;
        }
        let micros = format!("{whole}{part:0<DECIMALS$}").parse().ok()?;
        (micros > 0).then_some(Self(micros))
    }
}

fn decimal(micros: u128) -> String {
    format!("{}.{:06}", micros / 1_000_000, micros % 1_000_000)
}

/// The price of one bitcoin by day.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Rates(BTreeMap<String, Rate>);

/// Why a file of rates can't be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("line {line}: found {found}; allowed: {allowed}")]
pub struct RatesError {
    /// The line, from 1.
    pub line: u64,
    /// What is there.
    pub found: String,
    /// What may be there.
    pub allowed: &'static str,
}

impl Rates {
    /// Reads CSV with the columns `date` (2026-11-21) and `rate` (the price of one bitcoin, with a point and up to six
    /// decimals). A first line with those names may be there; the days come in any order, each once.
    ///
    /// # Errors
    /// The first line that is none.
    pub fn parse(text: &str) -> Result<Self, RatesError> {
        let mut reader = csv::ReaderBuilder::new()
            .has_headers(false)
            .flexible(true)
            .trim(csv::Trim::All)
            .from_reader(text.as_bytes());
        let mut rates = BTreeMap::new();
        for (number, record) in (1_u64..).zip(reader.records()) {
            let line =
                |record: &csv::StringRecord| record.position().map_or(number, csv::Position::line);
            let record = record.map_err(|error| RatesError {
                line: number,
                found: super::text::clean(&error.to_string(), 100),
                allowed: "CSV in UTF-8",
            })?;
            let wrong = |found: &str, allowed| RatesError {
                line: line(&record),
                found: format!("\"{}\"", super::text::clean(found, 60)),
                allowed,
            };
            let whole = record.iter().collect::<Vec<_>>().join(",");
            let (Some(date), Some(rate), None) = (record.get(0), record.get(1), record.get(2))
            else {
                return Err(wrong(&whole, "two columns: date,rate"));
            };
            if number == 1 && date.eq_ignore_ascii_case("date") {
                continue;
            }
            let day = Time::parse(date).ok().filter(|_| date.len() == 10);
            let Some(day) = day else {
                return Err(wrong(date, "a day as 2026-11-21"));
            };
            let allowed = "the price of one bitcoin above zero, as 90123.45";
            let rate = Rate::parse(rate).ok_or_else(|| wrong(rate, allowed))?;
            if rates.insert(day.day(), rate).is_some() {
                return Err(wrong(date, "each day once"));
            }
        }
        Ok(Self(rates))
    }

    /// The rate of a day, or of the last day before it that has one; with that day.
    fn on(&self, day: &str) -> Option<(&str, Rate)> {
        let upto = self
            .0
            .range::<str, _>((std::ops::Bound::Unbounded, std::ops::Bound::Included(day)));
        upto.last().map(|(day, rate)| (day.as_str(), *rate))
    }
}

/// A cell that no spreadsheet runs as a formula: what begins like one gets an apostrophe in front (OWASP, CSV injection).
#[must_use]
pub fn cell(text: &str) -> String {
    let text = super::text::clean(text, 200);
    if text.starts_with(['=', '+', '-', '@']) {
        format!("'{text}")
    } else {
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn day(rates: &Rates, day: &str) -> Option<(String, String)> {
        let found = rates.on(day)?;
        Some((found.0.to_owned(), decimal(found.1.0)))
    }

    #[test]
    fn a_payment_has_the_rate_of_its_day_or_the_last_before_it() {
        let rates = Rates::parse("date,rate\n2026-11-20,90000.5\n2026-11-18, 80000 \n").unwrap();
        assert_eq!(day(&rates, "2026-11-17"), None);
        for (at, of, rate) in [
            ("2026-11-18", "2026-11-18", "80000.000000"),
            ("2026-11-19", "2026-11-18", "80000.000000"),
            ("2026-12-31", "2026-11-20", "90000.500000"),
        ] {
            assert_eq!(day(&rates, at), Some((of.to_owned(), rate.to_owned())));
        }
    }

    #[test]
    fn values_are_whole_numbers_of_millionths() {
        let value = |msat, rate| decimal(Rate::parse(rate).unwrap().value(Msat(msat)));
        assert_eq!(value(100_000_000_000, "90123.45"), "90123.450000");
        assert_eq!(value(10_000, "90000"), "0.009000");
        assert_eq!(value(1, "90000"), "0.000001");
        assert_eq!(
            value(super::super::msat::MAX_MSAT, "999999999999"),
            "20999999999979000000.000000"
        );
    }

    #[test]
    fn a_line_that_is_none_is_named() {
        for (text, line, found, allowed) in [
            ("date,rate\nyesterday,1\n", 2, "yesterday", "2026-11-21"),
            ("2026-11-18,1\n2026-11-18,2\n", 2, "2026-11-18", "once"),
            ("2026-11-18,0\n", 1, "0", "above zero"),
            ("2026-11-18,-1\n", 1, "-1", "above zero"),
            ("2026-11-18,1e5\n", 1, "1e5", "above zero"),
            ("2026-11-18,90.\n", 1, "90.", "above zero"),
            ("2026-11-18;90\n", 1, "2026-11-18;90", "two columns"),
            ("2026-11-18,\"90,123\",x\n", 1, "90,123", "two columns"),
        ] {
            let error = Rates::parse(text).unwrap_err();
            assert_eq!(error.line, line, "{text}");
            let said = error.to_string();
            assert!(said.contains(found) && said.contains(allowed), "{said}");
        }
        assert_eq!(Rates::parse(""), Ok(Rates::default()));
    }

    #[test]
    fn a_stranger_s_cell_is_no_formula() {
        for text in ["=1+1", "+1", "-1", "@SUM(A1)", "\t=1", " =1", "\u{200b}=1"] {
            assert!(cell(text).starts_with('\''), "{text:?}: {}", cell(text));
        }
        assert_eq!(cell("gemma2:latest"), "gemma2:latest");
        assert_eq!(sats(Msat(21_500)), "21.5");
        assert_eq!(sats(Msat(21_000)), "21");
    }
}
