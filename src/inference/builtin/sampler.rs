//! The choice of the next token.

use super::{Sampling, model::exponentials};

/// Chooses tokens for one answer; the same settings and scores give the same tokens.
pub struct Sampler {
    settings: Sampling,
    penalty: f32,
    random: SplitMix,
    /// How often the answer already has each token.
    counts: Vec<f32>,
}

impl Sampler {
    pub fn new(settings: Sampling) -> Self {
        let penalty = settings.frequency_penalty;
        let penalty = if penalty.is_nan() {
            0.0
        } else {
            penalty.clamp(-2.0, 2.0)
        };
        Self {
            settings,
            penalty,
            random: SplitMix(settings.seed),
            counts: Vec::new(),
        }
    }

    /// Chooses from the scores of all tokens; with no scores, token 0. The order of the steps is llama.cpp's: penalty,
    /// `top_k`, `top_p`, temperature.
    pub fn pick(&mut self, mut scores: Vec<f32>) -> u32 {
        self.counts.resize(scores.len(), 0.0);
        for (score, count) in scores.iter_mut().zip(&self.counts) {
            *score -= count * self.penalty;
        }
        let mut candidates: Vec<(u32, f32)> = (0..).zip(scores).collect();
        // Not `<= 0`: NaN must be greedy too.
        let id = if self.settings.temperature > 0.0 {
            self.keep_top(&mut candidates);
            self.draw(&candidates)
        } else {
            best_of(&candidates)
        };
        if let Some(count) = self.counts.get_mut(id as usize) {
            *count += 1.0;
        }
        id
    }

    fn keep_top(&self, candidates: &mut Vec<(u32, f32)>) {
        let best_first = |a: &(u32, f32), b: &(u32, f32)| b.1.total_cmp(&a.1).then(a.0.cmp(&b.0));
        let top_k = self.settings.top_k as usize;
        if top_k > 0 && top_k < candidates.len() {
            candidates.select_nth_unstable_by(top_k, best_first);
            candidates.truncate(top_k);
        }
        if self.settings.top_p < 1.0 {
            candidates.sort_unstable_by(best_first);
            let mut shares: Vec<f32> = candidates.iter().map(|candidate| candidate.1).collect();
            let enough = exponentials(&mut shares) * self.settings.top_p;
            let mut sum = 0.0;
            let kept = shares.iter().take_while(|share| {
                let wanted = sum < enough;
                sum += *share;
                wanted
            });
            candidates.truncate(kept.count().max(1));
        }
    }

    /// Draws by the scores' exponentials at the set temperature.
    fn draw(&mut self, candidates: &[(u32, f32)]) -> u32 {
        let best = candidates
            .iter()
            .map(|candidate| candidate.1)
            .fold(f32::NEG_INFINITY, f32::max);
        // The best is taken off before the division, which a tiny temperature would else make infinite.
        let mut shares: Vec<f32> = candidates
            .iter()
            .map(|c| (c.1 - best) / self.settings.temperature)
            .collect();
        let mut left = self.random.unit() * exponentials(&mut shares);
        let drawn = shares.iter().position(|share| {
            left -= share;
            left < 0.0
        });
        // Rounding may leave a little over at the end.
        drawn
            .and_then(|index| candidates.get(index))
            .map_or_else(|| best_of(candidates), |candidate| candidate.0)
    }
}

/// The token with the best score, the first of equals; 0 if there is none.
fn best_of(candidates: &[(u32, f32)]) -> u32 {
    candidates
        .iter()
        .rev()
        .max_by(|a, b| a.1.total_cmp(&b.1))
        .map_or(0, |best| best.0)
}

/// Steele, Lea and Flood's `SplitMix64`.
struct SplitMix(u64);

impl SplitMix {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// From 0 up to but not including 1.
    // 24 bits fit an f32 exactly.
    #[allow(clippy::cast_precision_loss)]
    fn unit(&mut self) -> f32 {
        (self.next() >> 40) as f32 / (1u32 << 24) as f32
    }
}
