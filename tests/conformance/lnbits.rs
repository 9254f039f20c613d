//! `LNbits`: the fake server of the other wallet tests.

use std::sync::Arc;
use std::time::Duration;

use tempfile::TempDir;
use vend::wallet::lnbits::Lnbits;
use vend::wallet::{Issued, Wallet};

use crate::fake_wallet::{FakeWallet, Fault};
use crate::{Cannot, Stage, Trouble};

/// Ends a test that would otherwise wait for ever; never reached where things work.
const LONG: Duration = Duration::from_mins(1);

struct Fake {
    server: FakeWallet,
    _folder: TempDir,
}

pub fn start() -> Box<dyn Stage> {
    let folder = tempfile::tempdir().unwrap();
    Box::new(Fake {
        server: FakeWallet::start(&folder.path().join("record.jsonl")),
        _folder: folder,
    })
}

impl Fake {
    fn client(&self) -> Lnbits {
        Lnbits::open(&self.server.url(), &self.server.invoice_key().into()).unwrap()
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
        self.server.pay_more(&issued.bolt11, more_msat).unwrap();
        Ok(())
    }

    fn expire(&self, issued: &Issued) {
        self.server.expire(&issued.bolt11);
    }

    fn pay_late(&self, issued: &Issued) -> Result<(), Cannot> {
        self.server.pay_late(&issued.bolt11);
        Ok(())
    }

    fn trouble(&self, trouble: Option<Trouble>) -> Result<(), Cannot> {
        self.server.set_fault(match trouble {
            None => Fault::None,
            Some(Trouble::Slow) => Fault::Slow(LONG),
            Some(Trouble::Down) => Fault::Down,
            Some(Trouble::Unauthorized) => Fault::KeyRevoked,
            Some(Trouble::Garbage) => Fault::WebPage(200),
            Some(Trouble::LostAnswer) => Fault::HangAfterCreate,
        });
        Ok(())
    }

    fn wait_for_created(&self) {
        assert!(self.server.wait_for_created(1, LONG));
    }
}
