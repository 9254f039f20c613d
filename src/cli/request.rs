//! `vend request`: be a buyer.

use std::io::IsTerminal;
use std::time::Duration;

use nostr::{Event, Keys, PublicKey, RelayUrl};
use serde::Serialize;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::exit::{Exit, Outcome, json, say};
use super::{Global, prompt, qr};
use crate::buyer::{Buyer, Payer, Record, Trip, buy, buyer_key, settle_open};
use crate::config::load;
use crate::config::place::Places;
use crate::domain::Hex32;
use crate::domain::buyer::{Due, Order};
use crate::domain::id::RequestId;
use crate::domain::job::Encryption;
use crate::domain::msat::{MAX_MSAT, Msat};
use crate::domain::purchase::{Act, End, Terms};
use crate::domain::text::clean_lines;
use crate::domain::time::Time;
use crate::ledger::{Ledger, NewPurchase, Via};
use crate::wallet::nwc::NwcPayer;
use crate::wallet::open::SANDBOX_FOLDER;
use crate::wallet::sandbox::SandboxPayer;

/// What is paid at most through a real wallet where --bid does not say, sats.
const NWC_MOST_SATS: u64 = 1_000;
/// The most of an answer that is printed, characters.
const LONGEST_ANSWER: usize = 1_000_000;
/// How long the wallet may take to say which network it is on; the request goes out meanwhile.
const NETWORK: Duration = Duration::from_secs(5);

/// `vend request`
#[derive(Clone, Debug, clap::Args)]
pub struct Args {
    /// What is asked
    prompt: String,
    /// A relay; may be given several times [default: the settings' relays]
    #[arg(long, value_name = "URL")]
    relay: Vec<String>,
    /// The model wished for
    #[arg(long, value_name = "M")]
    model: Option<String>,
    /// The most tokens of the answer
    #[arg(long, value_name = "N")]
    max_tokens: Option<u32>,
    /// The most you pay, sats [default with --pay nwc: 1000]
    #[arg(long, value_name = "SATS")]
    bid: Option<u64>,
    /// Hide prompt and answer from others; needs --to
    #[arg(long, value_enum, requires = "to")]
    encrypt: Option<Scheme>,
    /// The one seller who is asked: npub or hex
    #[arg(long, value_name = "NPUB")]
    to: Option<String>,
    /// The request's kind
    #[arg(long, value_name = "K", default_value_t = 5050, value_parser = clap::value_parser!(u16).range(5000..=5999))]
    kind: u16,
    /// Pay what is asked, once: nwc with your own wallet (connection string from `VEND_BUYER_NWC`, or asked for), sandbox with
    /// the play money in --data-dir. `vend purchases` shows what was bought
    #[arg(long, value_enum)]
    pay: Option<Pay>,
    /// Ask for the answer as it comes, and print it so
    #[arg(long)]
    stream: bool,
    /// With an invoice to pay by hand: wait until it is paid or over
    #[arg(long, conflicts_with = "pay")]
    wait: bool,
    /// How long to wait, seconds
    #[arg(long, value_name = "S", default_value_t = 120, value_parser = clap::value_parser!(u64).range(1..=86_400))]
    timeout: u64,
    /// One JSON document at the end
    #[arg(long)]
    json: bool,
}

#[derive(Clone, Copy, Debug, clap::ValueEnum)]
enum Scheme {
    Nip04,
    Nip44,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
enum Pay {
    /// Your wallet over Nostr Wallet Connect
    Nwc,
    /// Play money in --data-dir
    Sandbox,
}

#[derive(Debug, Default, Serialize)]
struct Report {
    ok: bool,
    id: Option<RequestId>,
    seller: Option<PublicKey>,
    feedback: Vec<Told>,
    result_id: Option<String>,
    content: Option<String>,
    model: Option<String>,
    amount_msat: Option<Msat>,
    bolt11: Option<String>,
    paid_msat: Msat,
    fee_msat: Option<Msat>,
    /// The proof of payment, for the payer alone: whoever has it can say that they paid.
    preimage: Option<Hex32>,
    error: Option<String>,
}

#[derive(Debug, Serialize)]
struct Told {
    at: Time,
    status: &'static str,
    extra: Option<String>,
    seller: PublicKey,
}

/// Asks, prints what comes, pays if told to.
pub fn main(args: &Args, global: &Global) -> Outcome {
    let began = Instant::now();
    let places = global.places()?;
    let relays = relays(args, &places)?;
    let order = order(args, &relays)?;
    let runtime = super::exit::runtime()?;
    let report = runtime.block_on(async {
        let till = till(args, &places)?;
        shop(args, global, relays, &order, till, began).await
    });
    // A name that does not resolve must not keep a buyer whose time is over.
    runtime.shutdown_background();
    let report = report?;
    if args.json {
        json(&report)?;
    }
    if report.ok {
        return Ok(());
    }
    let why = report
        .error
        .unwrap_or_else(|| "there is no answer".to_owned());
    Err(Exit::failed(&why))
}

/// Who pays, and where it is written down.
struct Till {
    keys: Keys,
    payer: Payer,
    ledger: Ledger,
}

fn till(args: &Args, places: &Places) -> Result<Option<Till>, Exit> {
    let payer = match args.pay {
        None => return Ok(None),
        Some(Pay::Sandbox) => {
            places.prepare().map_err(|error| Exit::failed(&error))?;
            let payer = SandboxPayer::open(&places.data.join(SANDBOX_FOLDER));
            Payer::Sandbox(payer.map_err(|error| Exit::failed(&error))?)
        }
        Some(Pay::Nwc) => {
            let uri = prompt::buyer_wallet().map_err(|error| Exit::failed(&error))?;
            let payer = NwcPayer::open(&uri).map_err(|error| {
                Exit::failed(&format!("the wallet to pay with can't be used: {error}"))
            })?;
            places.prepare().map_err(|error| Exit::failed(&error))?;
            Payer::Nwc(Box::new(payer))
        }
    };
    let ledger = Ledger::open(&places.database()).map_err(|error| Exit::failed(&error))?;
    let keys = buyer_key(&places.data).map_err(|error| Exit::failed(&error))?;
    Ok(Some(Till {
        keys,
        payer,
        ledger,
    }))
}

fn relays(args: &Args, places: &Places) -> Result<Vec<RelayUrl>, Exit> {
    let urls = if args.relay.is_empty() {
        let settings = load(&places.config).map_err(|error| Exit::settings(&error))?;
        settings.nostr.relays
    } else {
        args.relay.clone()
    };
    urls.iter()
        .map(|url| {
            RelayUrl::parse(url)
                .map_err(|_| Exit::usage(format!("{url} is no relay's address: write wss://host")))
        })
        .collect()
}

fn order(args: &Args, relays: &[RelayUrl]) -> Result<Order, Exit> {
    let to = args
        .to
        .as_deref()
        .map(|key| {
            PublicKey::parse(key).map_err(|_| Exit::usage("--to wants an npub or 64 hex digits"))
        })
        .transpose()?;
    let stream = args
        .stream
        .then(|| ("stream".to_owned(), "true".to_owned()));
    Ok(Order {
        kind: args.kind,
        prompt: args.prompt.clone(),
        model: args.model.clone(),
        max_tokens: args.max_tokens,
        bid: args.bid.map(Msat::from_sats),
        output: Some("text/plain".to_owned()),
        relays: relays.iter().map(ToString::to_string).collect(),
        to,
        encrypt: match args.encrypt {
            Some(Scheme::Nip04) => Encryption::Nip04,
            Some(Scheme::Nip44) => Encryption::Nip44,
            None => Encryption::Plain,
        },
        params: stream.into_iter().collect(),
    })
}

async fn shop(
    args: &Args,
    global: &Global,
    relays: Vec<RelayUrl>,
    order: &Order,
    till: Option<Till>,
    began: Instant,
) -> Result<Report, Exit> {
    let failed = |error| Exit::failed(&error);
    let until = began + Duration::from_secs(args.timeout);
    let keys = till
        .as_ref()
        .map_or_else(Keys::generate, |till| till.keys.clone());
    let buyer = Buyer::connect(keys, relays, &[order.kind], None);
    let request = buyer.write(order).map_err(failed)?;
    let payer = till.as_ref().map(|till| &till.payer);
    let network = match payer {
        Some(payer) => {
            payer
                .network(NETWORK.min(until.saturating_duration_since(began) / 2))
                .await
        }
        None => None,
    };
    let record = till.as_ref().map(|till| Record {
        ledger: till.ledger.clone(),
        new: begun(&request, order),
        caps: None,
    });
    let trip = Trip {
        request: &request,
        terms: Terms {
            kind: order.kind,
            to: order.to,
            pays: payer.is_some(),
            most: most(args),
            network,
        },
        payer,
        record: record.as_ref(),
        until,
        wait_for_invoice: args.wait,
        first_word: None,
        cancel: CancellationToken::new(),
    };
    let mut screen = Screen::new(args, global, request.id);
    screen.line(&format!("request {} goes out", request.id));
    let end = {
        let mut show = |act: &Act| screen.show(act);
        let buying = buy(&buyer, trip, &mut show);
        tokio::pin!(buying);
        match &till {
            // Payments of earlier runs are asked about meanwhile; what is not decided by the end is asked the next time.
            Some(till) => tokio::select! {
                end = &mut buying => end,
                Err(error) = settle_open(&till.ledger, &till.payer) => {
                    tracing::warn!(%error, "earlier purchases");
                    (&mut buying).await
                }
            },
            None => (&mut buying).await,
        }
    };
    let report = match end {
        Ok(end) => Ok(screen.report(end)),
        Err(error) => Err(Exit::failed(&error)),
    };
    buyer.leave().await;
    report
}

fn begun(request: &Event, order: &Order) -> NewPurchase {
    NewPurchase {
        id: Hex32(rand::random()),
        request_id: RequestId(request.id),
        via: Via::Request,
        kind: order.kind,
        encryption: order.encrypt,
        seller: order.to,
        model: order.model.clone(),
        bid: order.bid,
        body: None,
        at: Time::now(),
    }
}

/// The most that is paid. A stranger names the price, so real money has a bound that need not be given.
fn most(args: &Args) -> Msat {
    match (args.bid, args.pay) {
        (Some(sats), _) => Msat::from_sats(sats),
        (None, Some(Pay::Nwc)) => Msat::from_sats(NWC_MOST_SATS),
        (None, _) => Msat(MAX_MSAT),
    }
}

/// What a person sees, and the sheet that is drawn up meanwhile.
#[allow(clippy::struct_excessive_bools)] // each is a flag of the command line
struct Screen {
    quiet: bool,
    stream: bool,
    ascii: bool,
    play_money: bool,
    /// Characters of the answer that are printed already.
    printed: usize,
    report: Report,
}

impl Screen {
    fn new(args: &Args, global: &Global, id: nostr::EventId) -> Self {
        Self {
            quiet: args.json,
            stream: args.stream,
            ascii: global.ascii,
            play_money: args.pay == Some(Pay::Sandbox),
            printed: 0,
            report: Report {
                id: Some(RequestId(id)),
                ..Report::default()
            },
        }
    }

    fn line(&mut self, line: &str) {
        if self.quiet {
            return;
        }
        if std::mem::take(&mut self.printed) > 0 {
            // A part of an answer was in the middle of its line. A reader who has left is noticed at the end.
            let _ = say("");
        }
        // A reader who has left does not end a purchase that may be paid already.
        let _ = say(line);
    }

    fn show(&mut self, act: &Act) {
        match act {
            Act::Feedback {
                seller,
                status,
                words,
            } => {
                self.report.seller = Some(*seller);
                let text = words.as_deref().unwrap_or("");
                self.line(&format!("{}: {text}", status.as_str()));
                self.report.feedback.push(Told {
                    at: Time::now(),
                    status: status.as_str(),
                    extra: words.clone(),
                    seller: *seller,
                });
            }
            Act::Partial { text, .. } => self.partial(text),
            Act::Fault { seller, words } => {
                let npub = crate::identity::npub(seller);
                self.line(&format!("{npub}: {words}"));
            }
            Act::Invoice { due, .. } => self.invoice(due),
            Act::Pay { due, .. } => {
                self.report.amount_msat = Some(due.amount);
                self.report.bolt11 = Some(due.bolt11.clone());
                self.line(&format!("paying {}", due.amount.display()));
            }
            Act::End(_) => {}
        }
    }

    /// Prints what is new of the answer so far.
    fn partial(&mut self, text: &str) {
        if self.quiet || !self.stream {
            return;
        }
        let shown = clean_lines(text, LONGEST_ANSWER);
        let new: String = shown.chars().skip(self.printed).collect();
        self.printed += new.chars().count();
        print_part(&new);
    }

    fn invoice(&mut self, due: &Due) {
        self.report.amount_msat = Some(due.amount);
        self.report.bolt11 = Some(due.bolt11.clone());
        self.line(&format!(
            "to pay: {}, until {}",
            due.amount.display(),
            due.expires_at
        ));
        self.line(&due.bolt11.clone());
        if std::io::stdout().is_terminal() {
            for line in qr::lines(&due.bolt11, self.ascii).unwrap_or_default() {
                self.line(&line);
            }
        }
    }

    fn report(mut self, end: End) -> Report {
        match end {
            End::Delivered {
                delivery,
                paid,
                unsure,
            } => {
                self.answer(&delivery.content);
                let report = &mut self.report;
                report.ok = unsure.is_none();
                report.seller = Some(delivery.seller);
                report.result_id = Some(delivery.event.to_hex());
                report.content = Some(delivery.content);
                report.model = delivery.model;
                report.amount_msat = delivery.amount.or(report.amount_msat);
                report.bolt11 = delivery.bolt11.or(report.bolt11.take());
                report.error = unsure;
                if let Some(paid) = paid {
                    self.paid(&paid);
                }
            }
            End::Failed { words, .. } | End::Unsure { words, .. } => {
                self.report.error = Some(words);
            }
            End::Lost {
                seller,
                paid,
                words,
            } => {
                self.report.seller = Some(seller);
                self.paid(&paid);
                self.report.error = Some(words);
            }
        }
        self.report
    }

    /// The answer, or the rest of it where its beginning was printed as it came.
    fn answer(&mut self, content: &str) {
        if self.quiet {
            return;
        }
        let shown = clean_lines(content, LONGEST_ANSWER);
        let rest: String = shown.chars().skip(self.printed).collect();
        print_part(&rest);
        self.printed = 0;
        let _ = say("");
    }

    fn paid(&mut self, paid: &crate::domain::purchase::Paid) {
        self.report.paid_msat = paid.amount;
        self.report.fee_msat = paid.fee;
        self.report.preimage = paid.preimage.map(|preimage| preimage.0);
        let fee = paid.fee.map_or_else(String::new, |fee| {
            format!(" and {} for the way", fee.display())
        });
        let play = if self.play_money { " (play money)" } else { "" };
        self.line(&format!("paid {}{fee}{play}", paid.amount.display()));
    }
}

/// Writes without a line's end, at once.
fn print_part(text: &str) {
    use std::io::Write;
    let mut out = std::io::stdout();
    // A reader who has left does not end a purchase that may be paid already.
    let _ = write!(out, "{text}").and_then(|()| out.flush());
}
