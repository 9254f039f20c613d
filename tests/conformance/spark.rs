//! Spark: a scripted helper with real signed invoices. The official SDK itself is met in tests/live.

use std::sync::Arc;
use std::time::Duration;

use vend::wallet::spark::launch::Timing;
use vend::wallet::{Issued, Wallet};

use crate::fake_spark::{FakeSpark, Fault};
use crate::{Cannot, Stage, Trouble};

struct Fake(FakeSpark);

pub fn start() -> Box<dyn Stage> {
    Box::new(Fake(FakeSpark::start()))
}

impl Stage for Fake {
    fn wallet(&self) -> Arc<dyn Wallet> {
        Arc::new(self.0.wallet(Timing::default()))
    }

    fn hasty(&self, call: Duration) -> Arc<dyn Wallet> {
        Arc::new(self.0.wallet(Timing::default()).call_timeout(call))
    }

    fn pay(&self, issued: &Issued, more_msat: u64) -> Result<(), Cannot> {
        self.0.pay(&issued.bolt11, more_msat);
        Ok(())
    }

    fn expire(&self, issued: &Issued) {
        self.0
            .with(|state| state.books.entry(&issued.bolt11).expires_at = 1);
    }

    fn pay_late(&self, issued: &Issued) -> Result<(), Cannot> {
        self.0
            .with(|state| state.books.entry(&issued.bolt11).settle_now(0));
        Ok(())
    }

    fn trouble(&self, trouble: Option<Trouble>) -> Result<(), Cannot> {
        let fault = match trouble {
            None => Fault::None,
            Some(Trouble::Slow) => Fault::Silent,
            Some(Trouble::Down) => Fault::Unreachable,
            Some(Trouble::Garbage) => Fault::Strange,
            Some(Trouble::LostAnswer) => Fault::HangAfterCreate,
            Some(Trouble::Unauthorized) => return Err("has no key that could be refused"),
        };
        self.0.with(|state| state.fault = fault);
        Ok(())
    }

    fn wait_for_created(&self) {
        self.0
            .wait_for("an invoice", |state| !state.books.all().is_empty());
    }
}
