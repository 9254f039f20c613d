//! `vend keys`: the seller's identity. Secrets come from a prompt or stdin, never from an argument.

use std::io::IsTerminal;

use secrecy::{ExposeSecret, SecretString};

use super::Global;
use super::exit::{Exit, Outcome, say};
use super::prompt;
use crate::config::place::read_lock;
use crate::identity;

/// `vend keys`
#[derive(Clone, Copy, Debug, clap::Args)]
pub struct Args {
    #[command(subcommand)]
    what: What,
}

#[derive(Clone, Copy, Debug, clap::Subcommand)]
enum What {
    /// Who the seller is (npub and hex)
    Show,
    /// Make a new identity; refused where there is one
    Generate(Protect),
    /// Keep an identity that exists elsewhere: nsec, hex or ncryptsec, from a prompt or stdin
    Import(Protect),
    /// Print the secret key: nsec, or ncryptsec with --passphrase
    Export(Protect),
}

#[derive(Clone, Copy, Debug, clap::Args)]
struct Protect {
    /// Under a passphrase (NIP-49): asked for, or from VEND_PASSPHRASE, or from the file that VEND_PASSPHRASE_FILE names
    #[arg(long)]
    passphrase: bool,
}

impl Protect {
    fn ask(self) -> Result<Option<SecretString>, Exit> {
        if !self.passphrase {
            return Ok(None);
        }
        prompt::passphrase().map(Some).map_err(|e| Exit::failed(&e))
    }
}

/// Shows, makes, takes in or gives out the identity.
pub fn main(global: &Global, args: Args) -> Outcome {
    let places = global.prepared()?;
    let path = places.identity();
    let failed = |error: identity::IdentityError| Exit::failed(&error);
    match args.what {
        What::Show => {
            let ask: identity::AskPassphrase<'_> = &mut prompt::passphrase;
            let identity = identity::load(&path, Some(ask)).map_err(failed)?;
            say(&identity.npub())?;
            say(&identity.public_key().to_hex())
        }
        What::Generate(protect) => {
            let secret = protect.ask()?;
            let identity = identity::generate(&path, secret.as_ref()).map_err(failed)?;
            say(&identity.npub())
        }
        What::Import(protect) => {
            if read_lock(&places).is_some() {
                return Err(Exit::held(
                    &"a vend is running on this data directory: stop it with `vend stop` first",
                ));
            }
            let key = prompt::secret("secret key (nsec, hex or ncryptsec)")
                .map_err(|error| Exit::failed(&error))?;
            let secret = protect.ask()?;
            let ask: identity::AskPassphrase<'_> = &mut prompt::passphrase;
            let identity =
                identity::import(&path, &key, Some(ask), secret.as_ref()).map_err(failed)?;
            say(&identity.npub())
        }
        What::Export(protect) => {
            if std::io::stdout().is_terminal() {
                // To stderr, so that a pipe never mixes it with the key.
                eprintln!("Whoever has this key can sign as you.");
            }
            let ask: identity::AskPassphrase<'_> = &mut prompt::passphrase;
            let identity = identity::load(&path, Some(ask)).map_err(failed)?;
            let secret = protect.ask()?;
            let text = identity::export(&identity, secret.as_ref()).map_err(failed)?;
            say(text.expose_secret())
        }
    }
}
