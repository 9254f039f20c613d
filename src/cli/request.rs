//! `vend request`: be a buyer.

use std::time::Duration;

use nostr::{Keys, PublicKey, RelayUrl};
use serde::Serialize;

use super::exit::{Exit, Outcome, json, runtime, say};
use super::{Global, prompt};
use crate::buyer::{Buyer, Heard, Payer};
use crate::config::load;
use crate::config::place::Places;
use crate::domain::Hex32;
use crate::domain::buyer::{Answer, Order, Status, due};
use crate::domain::id::RequestId;
use crate::domain::job::Encryption;
use crate::domain::msat::{MAX_MSAT, Msat};
use crate::domain::text::{clean, clean_lines};
use crate::domain::time::Time;
use crate::wallet::nwc::NwcPayer;
use crate::wallet::open::SANDBOX_FOLDER;
use crate::wallet::sandbox::SandboxPayer;

/// What is paid at most through a real wallet where --bid does not say, sats.
const NWC_MOST_SATS: u64 = 1_000;

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
    /// the play money in --data-dir
    #[arg(long, value_enum)]
    pay: Option<Pay>,
    /// How long to wait, seconds
    #[arg(long, value_name = "S", default_value_t = 120, value_parser = clap::value_parser!(u64).range(1..))]
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

#[derive(Clone, Copy, Debug, clap::ValueEnum)]
enum Pay {
    /// Your wallet over Nostr Wallet Connect
    Nwc,
    /// Play money in --data-dir
    Sandbox,
}

#[derive(Debug, Default, Serialize)]
struct Sheet {
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
}

/// Asks, prints what comes, pays if told to.
pub fn main(args: &Args, global: &Global) -> Outcome {
    let places = global.places()?;
    let relays = relays(args, &places)?;
    let order = order(args, &relays)?;
    let payer = payer(args, &places)?;
    let sheet = runtime()?.block_on(buy(args, relays, &order, payer))?;
    if args.json {
        json(&sheet)?;
    }
    if sheet.ok {
        return Ok(());
    }
    Err(Exit::failed(&sheet.error.unwrap_or_else(|| {
        format!("no result within {} s", args.timeout)
    })))
}

fn payer(args: &Args, places: &Places) -> Result<Option<Payer>, Exit> {
    Ok(Some(match args.pay {
        None => return Ok(None),
        Some(Pay::Sandbox) => {
            let payer = SandboxPayer::open(&places.data.join(SANDBOX_FOLDER));
            Payer::Sandbox(payer.map_err(|error| Exit::failed(&error))?)
        }
        Some(Pay::Nwc) => {
            let uri = prompt::buyer_wallet().map_err(|error| Exit::failed(&error))?;
            let payer = NwcPayer::open(&uri).map_err(|error| {
                Exit::failed(&format!("the wallet to pay with can't be used: {error}"))
            })?;
            Payer::Nwc(Box::new(payer))
        }
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
    })
}

async fn buy(
    args: &Args,
    relays: Vec<RelayUrl>,
    order: &Order,
    payer: Option<Payer>,
) -> Result<Sheet, Exit> {
    let failed = |error| Exit::failed(&error);
    let mut buyer = Buyer::connect(Keys::generate(), relays, order.kind)
        .await
        .map_err(failed)?;
    let request = buyer.write(order).map_err(failed)?;
    let id = buyer.send(&request).await.map_err(failed)?;
    let mut sheet = Sheet {
        id: Some(id),
        ..Sheet::default()
    };
    progress(args, &format!("request {id} is out"))?;
    let over = tokio::time::sleep(Duration::from_secs(args.timeout));
    tokio::pin!(over);
    while sheet.result_id.is_none() && sheet.error.is_none() {
        tokio::select! {
            () = &mut over => break,
            heard = buyer.hear() => {
                let Some(heard) = heard else { break };
                let expected = order.to.is_none_or(|seller| seller == heard.seller);
                if heard.request == id && expected {
                    hear(args, &mut sheet, heard, payer.as_ref()).await?;
                }
            }
        }
    }
    buyer.leave().await;
    sheet.ok = sheet.result_id.is_some() && sheet.error.is_none();
    Ok(sheet)
}

fn progress(args: &Args, line: &str) -> Outcome {
    if args.json { Ok(()) } else { say(line) }
}

async fn hear(args: &Args, sheet: &mut Sheet, heard: Heard, payer: Option<&Payer>) -> Outcome {
    sheet.seller = Some(heard.seller);
    let (asked, bolt11) = match heard.answer {
        Answer::Feedback {
            status,
            extra,
            amount,
            bolt11,
        } => {
            let extra = extra.map(|text| clean(&text, 400));
            progress(
                args,
                &format!("{}: {}", status.word(), extra.as_deref().unwrap_or("")),
            )?;
            if status == Status::Error {
                sheet.error = Some(extra.clone().unwrap_or_else(|| "refused".to_owned()));
            }
            sheet.feedback.push(Told {
                at: Time::now(),
                status: status.word(),
                extra,
            });
            (amount, bolt11)
        }
        Answer::Result {
            content,
            amount,
            bolt11,
            model,
        } => {
            progress(args, &clean_lines(&content, 100_000))?;
            sheet.result_id = Some(heard.event.to_hex());
            sheet.content = Some(content);
            sheet.amount_msat = amount;
            sheet.bolt11.clone_from(&bolt11);
            sheet.model = model;
            (amount, bolt11)
        }
    };
    if let (Some(bolt11), Some(payer)) = (bolt11, payer) {
        pay(args, sheet, &bolt11, asked, payer).await?;
    }
    Ok(())
}

/// Pays at most one invoice for a request: what another seller asks too, or the same one again, stays unpaid.
async fn pay(
    args: &Args,
    sheet: &mut Sheet,
    bolt11: &str,
    asked: Option<Msat>,
    payer: &Payer,
) -> Outcome {
    if sheet.paid_msat > Msat::ZERO {
        return progress(args, "not paid again: one invoice was paid already");
    }
    let paid = match due(bolt11, asked, most(args), Time::now()) {
        Ok(due) => payer.pay(&due).await,
        Err(why) => Err(why),
    };
    match paid {
        Ok(paid) => {
            sheet.paid_msat = paid.amount;
            sheet.fee_msat = paid.fee;
            sheet.preimage = paid.preimage.map(|preimage| preimage.0);
            let fee = paid.fee.map_or_else(String::new, |fee| {
                format!(" and {} for the way", fee.display())
            });
            let play = if payer.is_play_money() {
                " (play money)"
            } else {
                ""
            };
            progress(args, &format!("paid {}{fee}{play}", paid.amount.display()))
        }
        Err(why) => {
            sheet.error = Some(clean(&why, 400));
            Ok(())
        }
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
