//! Most tests of the program, in one binary: it links once, and all of them wait side by side.

#[path = "../support/mod.rs"]
mod support;

mod attached;
mod balance;
mod buyer;
mod cli;
mod cln;
mod conduct;
#[cfg(feature = "tui")]
mod dashboard;
mod desk;
mod doctor;
mod found;
mod full_disk;
mod gateway;
mod hold;
mod interrupted;
mod jobs_pages;
#[cfg(feature = "tui")]
mod late_answers;
mod lnd;
mod machine;
mod market;
mod model_faults;
mod newcomer;
mod nwc;
mod nwc_sale;
mod offers;
mod on_demand_checks;
mod openai_faults;
mod output;
mod partial;
mod phoenixd;
mod queue;
mod records;
mod refusing;
mod relay_faults;
mod relay_sizes;
mod relay_traps;
mod requests;
mod restored;
#[cfg(feature = "tui")]
mod session;
mod settings;
mod settings_live;
mod settings_writers;
#[cfg(feature = "tui")]
mod signals;
mod streams;
mod switching;
mod wallet_faults;
mod zaps;
