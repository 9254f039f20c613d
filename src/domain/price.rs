//! What a job costs (SPEC section 5). Integer arithmetic only.

use serde::{Deserialize, Serialize};

use super::msat::Msat;

const TOKENS_PER_RATE: u128 = 1_000;
const MSAT_PER_SAT: u128 = 1_000;

/// Tokens that a model's template may add to a prompt.
const TEMPLATE_TOKENS: u32 = 64;

/// The most input tokens that a prompt of so many bytes can be: one token is at least one byte.
#[must_use]
pub fn most_input_tokens(bytes: usize) -> u32 {
    u32::try_from(bytes)
        .unwrap_or(u32::MAX)
        .saturating_add(TEMPLATE_TOKENS)
}

/// The prices a job was admitted under, in sats.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PriceRule {
    /// The least a job costs, sats.
    pub min_sats: u64,
    /// Sats for 1000 input tokens.
    pub per_1k_input: u64,
    /// Sats for 1000 output tokens.
    pub per_1k_output: u64,
}

impl PriceRule {
    /// `max(min_price, ceil((input × in + output × out) / 1000))` whole sats.
    #[must_use]
    pub fn price(&self, input_tokens: u32, output_tokens: u32) -> Msat {
        let rated = u128::from(input_tokens) * u128::from(self.per_1k_input)
            + u128::from(output_tokens) * u128::from(self.per_1k_output);
        let sats = rated
            .div_ceil(TOKENS_PER_RATE)
            .max(u128::from(self.min_sats));
        Msat::from_sats(u64::try_from(sats).unwrap_or(u64::MAX / 1_000))
    }

    /// The price under a buyer's ceiling: what is above the bid's whole sats is let go. Whole sats, so that wallets that
    /// count in sats never ask for more than the bid.
    #[must_use]
    pub fn price_under(&self, input_tokens: u32, output_tokens: u32, bid: Option<Msat>) -> Msat {
        let price = self.price(input_tokens, output_tokens);
        bid.map_or(price, |ceiling| {
            price.min(Msat(ceiling.0 - ceiling.0 % 1_000))
        })
    }

    /// The price with a surcharge of so many percent, in whole sats, under a buyer's ceiling.
    #[must_use]
    pub fn surcharged(
        &self,
        input_tokens: u32,
        output_tokens: u32,
        percent: u32,
        bid: Option<Msat>,
    ) -> Msat {
        let sats = u128::from(self.price(input_tokens, output_tokens).0) / MSAT_PER_SAT;
        let all = (sats * (100 + u128::from(percent))).div_ceil(100);
        let price = Msat::from_sats(u64::try_from(all).unwrap_or(u64::MAX));
        bid.map_or(price, |ceiling| {
            price.min(Msat(ceiling.0 - ceiling.0 % 1_000))
        })
    }

    /// What a ceiling leaves for the price itself, beside a surcharge of so many percent.
    #[must_use]
    pub fn beside(percent: u32, ceiling: Msat) -> Msat {
        let sats = u128::from(ceiling.0) / MSAT_PER_SAT;
        let own = sats * 100 / (100 + u128::from(percent));
        Msat::from_sats(u64::try_from(own).unwrap_or(u64::MAX))
    }

    /// The most output tokens that a ceiling pays for beside so much input; none where it does not even pay for that.
    #[must_use]
    pub fn output_within(&self, input_tokens: u32, ceiling: Msat) -> Option<u32> {
        let sats = u128::from(ceiling.0) / MSAT_PER_SAT;
        let left = (sats * TOKENS_PER_RATE)
            .checked_sub(u128::from(input_tokens) * u128::from(self.per_1k_input))?;
        if sats < u128::from(self.min_sats) {
            return None;
        }
        let output = left.checked_div(u128::from(self.per_1k_output));
        Some(output.map_or(u32::MAX, |output| u32::try_from(output).unwrap_or(u32::MAX)))
    }

    /// The least a job costs.
    #[must_use]
    pub const fn minimum(&self) -> Msat {
        Msat::from_sats(self.min_sats)
    }

    /// Is everything free?
    #[must_use]
    pub const fn is_free(&self) -> bool {
        self.min_sats == 0 && self.per_1k_input == 0 && self.per_1k_output == 0
    }

    /// Is this ceiling too low for any job?
    #[must_use]
    pub fn refuses(&self, bid: Msat) -> bool {
        u128::from(bid.0) < u128::from(self.min_sats) * MSAT_PER_SAT
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const RULE: PriceRule = PriceRule {
        min_sats: 10,
        per_1k_input: 2,
        per_1k_output: 2,
    };

    #[test]
    fn a_small_job_costs_the_minimum() {
        assert_eq!(RULE.price(15, 13), Msat::from_sats(10));
    }

    #[test]
    fn a_begun_sat_is_a_whole_sat() {
        assert_eq!(RULE.price(5_000, 1), Msat::from_sats(11));
    }

    #[test]
    fn a_bid_is_a_ceiling_and_never_a_price() {
        assert_eq!(
            RULE.price_under(50_000, 0, Some(Msat(60_999))),
            Msat(60_000)
        );
        assert_eq!(RULE.price_under(1, 1, Some(Msat(60_000))), Msat(10_000));
        assert!(RULE.refuses(Msat(9_999)) && !RULE.refuses(Msat(10_000)));
    }

    proptest! {
        #[test]
        fn what_a_bid_pays_for_costs_no_more_than_the_bid(input in 0_u32..200_000, bid in 0_u64..2_000_000, min in 0_u64..50, rate_in in 0_u64..2_000, rate_out in 0_u64..2_000) {
            let rule = PriceRule { min_sats: min, per_1k_input: rate_in, per_1k_output: rate_out };
            match rule.output_within(input, Msat(bid)) {
                Some(output) => {
                    prop_assert!(rule.price(input, output) <= Msat(bid));
                    if rate_out > 0 {
                        prop_assert!(rule.price(input, output + 1) > Msat(bid - bid % 1_000));
                    }
                }
                None => prop_assert!(rule.price(input, 0) > Msat(bid - bid % 1_000)),
            }
        }

        #[test]
        fn a_surcharge_is_within_what_the_bid_leaves_for_it(input in 0_u32..200_000, output in 0_u32..200_000, bid in 0_u64..2_000_000, percent in 0_u32..1_000) {
            let own = PriceRule::beside(percent, Msat(bid));
            let price = RULE.price(input, output);
            let all = RULE.surcharged(input, output, percent, None);
            prop_assert!(all >= price);
            prop_assert!(price > own || all <= Msat(bid));
            prop_assert_eq!(RULE.surcharged(input, output, 0, Some(Msat(bid))), RULE.price_under(input, output, Some(Msat(bid))));
        }

        #[test]
        fn never_below_the_minimum_nor_above_the_money(input: u32, output: u32, min: u64, per in 0_u64..u64::from(u32::MAX)) {
            let rule = PriceRule { min_sats: min, per_1k_input: per, per_1k_output: per };
            let price = rule.price(input, output);
            prop_assert!(price >= rule.minimum());
            prop_assert!(price.0 <= super::super::msat::MAX_MSAT);
        }
    }
}
