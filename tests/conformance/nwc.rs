//! Nostr Wallet Connect: the fake wallet service behind a fake relay.

use std::sync::Arc;
use std::time::Duration;

use vend::wallet::nwc::Nwc;
use vend::wallet::{Issued, Wallet};

use crate::fake_nwc::{FakeNwc, Fault, LONG};
use crate::{Cannot, Stage, Trouble};

struct Fake {
    service: FakeNwc,
}

pub fn start() -> Box<dyn Stage> {
    Box::new(Fake {
        service: FakeNwc::start(),
    })
}

impl Fake {
    fn client(&self) -> Nwc {
        Nwc::open(&self.service.uri().into()).unwrap()
    }
}

impl Stage for Fake {
    fn wallet(&self) -> Arc<dyn Wallet> {
        Arc::new(self.client())
    }

    fn hasty(&self, call: Duration) -> Arc<dyn Wallet> {
        Arc::new(self.client().call_timeout(call))
    }

    fn pay(&self, issued: &Issued, more_msat: u64) -> Result<(), Cannot> {
        self.service.pay_more(&issued.bolt11, more_msat).unwrap();
        Ok(())
    }

    fn expire(&self, issued: &Issued) {
        self.service.expire(&issued.bolt11);
    }

    fn pay_late(&self, issued: &Issued) -> Result<(), Cannot> {
        self.service.pay_late(&issued.bolt11);
        Ok(())
    }

    fn trouble(&self, trouble: Option<Trouble>) -> Result<(), Cannot> {
        self.service.set_down(trouble == Some(Trouble::Down));
        self.service.set_fault(match trouble {
            None | Some(Trouble::Down) => Fault::None,
            Some(Trouble::Slow) => Fault::Slow(LONG),
            Some(Trouble::Unauthorized) => Fault::Code("UNAUTHORIZED"),
            Some(Trouble::Garbage) => Fault::Garbage,
            Some(Trouble::LostAnswer) => Fault::HangAfterCreate,
        });
        Ok(())
    }

    fn wait_for_created(&self) {
        assert!(self.service.wait_for_created(1));
    }
}
