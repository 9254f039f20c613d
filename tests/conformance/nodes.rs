//! LND, Core Lightning and phoenixd: the fake node in its three tongues.

use std::sync::Arc;
use std::time::Duration;

use vend::wallet::cln::Cln;
use vend::wallet::lnd::Lnd;
use vend::wallet::phoenixd::Phoenixd;
use vend::wallet::{Issued, Wallet};

use crate::fake_node::{FakeNode, Fault};
use crate::{Cannot, Stage, Trouble, fake_cln, fake_lnd, fake_phoenixd};

/// Ends a test that would otherwise wait for ever; never reached where things work.
const LONG: Duration = Duration::from_mins(1);

type Client = fn(&FakeNode, Option<Duration>) -> Arc<dyn Wallet>;

struct Fake {
    node: FakeNode,
    client: Client,
}

/// A client with the time for a call that was told, if any.
macro_rules! client {
    ($open:expr) => {
        |node, call| {
            let open = $open(node).unwrap();
            Arc::new(match call {
                Some(call) => open.call_timeout(call),
                None => open,
            })
        }
    };
}

pub fn lnd() -> Box<dyn Stage> {
    Box::new(Fake {
        node: fake_lnd::start(None),
        client: client!(|node: &FakeNode| Lnd::open(&node.url(), &node.secret().into(), None)),
    })
}

pub fn cln() -> Box<dyn Stage> {
    Box::new(Fake {
        node: fake_cln::start(None),
        client: client!(|node: &FakeNode| Cln::open(&node.url(), &node.secret().into(), None)),
    })
}

pub fn phoenixd() -> Box<dyn Stage> {
    Box::new(Fake {
        node: fake_phoenixd::start(),
        client: client!(|node: &FakeNode| Phoenixd::open(&node.url(), &node.secret().into())),
    })
}

impl Stage for Fake {
    fn wallet(&self) -> Arc<dyn Wallet> {
        (self.client)(&self.node, None)
    }

    fn hasty(&self, call: Duration) -> Arc<dyn Wallet> {
        (self.client)(&self.node, Some(call))
    }

    fn pay(&self, issued: &Issued, more_msat: u64) -> Result<(), Cannot> {
        self.node.pay_more(&issued.bolt11, more_msat).unwrap();
        Ok(())
    }

    fn expire(&self, issued: &Issued) {
        self.node.expire(&issued.bolt11);
    }

    fn pay_late(&self, issued: &Issued) -> Result<(), Cannot> {
        self.node.pay_late(&issued.bolt11);
        Ok(())
    }

    fn trouble(&self, trouble: Option<Trouble>) -> Result<(), Cannot> {
        self.node.set_fault(match trouble {
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
        assert!(self.node.wait_for_created(1, LONG));
    }
}
