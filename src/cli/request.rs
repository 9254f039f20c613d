//! `vend request`: be a buyer.

use std::time::Duration;

use nostr::{Keys, PublicKey, RelayUrl};
use serde::Serialize;

use super::Global;
use super::exit::{Exit, Outcome, json, runtime, say};
use crate::buyer::{Buyer, Heard};
use crate::config::load;
use crate::domain::buyer::{Answer, Order, Status};
use crate::domain::id::RequestId;
use crate::domain::job::Encryption;
use crate::domain::msat::Msat;
use crate::domain::text::{clean, clean_lines};
use crate::domain::time::Time;
use crate::wallet::open::SANDBOX_FOLDER;
use crate::wallet::sandbox::SandboxPayer;

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
    /// The most you pay, sats
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
    /// Pay what is asked: sandbox pays invoices of the play-money wallet in --data-dir
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
    let payer = match args.pay {
        Some(Pay::Sandbox) => Some(
            SandboxPayer::open(&places.data.join(SANDBOX_FOLDER))
                .map_err(|error| Exit::failed(&error))?,
        ),
        None => None,
    };
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

fn relays(args: &Args, places: &crate::config::place::Places) -> Result<Vec<RelayUrl>, Exit> {
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
    payer: Option<SandboxPayer>,
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

async fn hear(
    args: &Args,
    sheet: &mut Sheet,
    heard: Heard,
    payer: Option<&SandboxPayer>,
) -> Outcome {
    sheet.seller = Some(heard.seller);
    let bolt11 = match heard.answer {
        Answer::Feedback {
            status,
            extra,
            bolt11,
            ..
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
            bolt11
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
            bolt11
        }
    };
    if let (Some(bolt11), Some(payer)) = (bolt11, payer) {
        pay(args, sheet, bolt11, payer).await?;
    }
    Ok(())
}

async fn pay(args: &Args, sheet: &mut Sheet, bolt11: String, payer: &SandboxPayer) -> Outcome {
    let payer = payer.clone();
    let paid = tokio::task::spawn_blocking(move || payer.pay(&bolt11))
        .await
        .map_err(|error| Exit::failed(&error))?;
    match paid {
        Ok(paid) => {
            sheet.paid_msat += paid.amount;
            progress(
                args,
                &format!("paid {} (play money)", paid.amount.display()),
            )
        }
        Err(error) => {
            sheet.error = Some(error.to_string());
            Ok(())
        }
    }
}
