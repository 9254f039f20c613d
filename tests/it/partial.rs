//! A buyer who asks for it sees the text while it is written; the result alone counts.

use std::sync::Arc;

use crate::support::inside::{Inside, is_result, status_of};
use nostr::nips::nip44;
use nostr::{EventBuilder, Keys, Kind, Tag};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use vend::demo::online;

/// An OpenAI-compatible server that stops in the middle of its answer until it may go on.
async fn server(go_on: Arc<Semaphore>) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    tokio::spawn(async move {
        while let Ok((socket, _)) = listener.accept().await {
            let go_on = Arc::clone(&go_on);
            // An error means that the client went away.
            tokio::spawn(async move { serve(socket, &go_on).await.ok() });
        }
    });
    url
}

async fn serve(socket: TcpStream, go_on: &Semaphore) -> std::io::Result<()> {
    let mut socket = BufReader::new(socket);
    let mut first = String::new();
    socket.read_line(&mut first).await?;
    let mut length = 0;
    loop {
        let mut line = String::new();
        if socket.read_line(&mut line).await? == 0 || line == "\r\n" {
            break;
        }
        if let Some(value) = line.to_lowercase().strip_prefix("content-length: ") {
            length = value.trim().parse().unwrap();
        }
    }
    socket.read_exact(&mut vec![0; length]).await?;
    let head = b"HTTP/1.1 200 OK\r\nconnection: close\r\n\r\n";
    socket.write_all(head).await?;
    if !first.starts_with("POST") {
        socket.write_all(b"{\"data\":[{\"id\":\"m\"}]}").await?;
        return socket.shutdown().await;
    }
    let piece = |text: &str, end: &str| {
        format!(
            "data: {{\"choices\":[{{\"delta\":{{\"content\":\"{text}\"}},\"finish_reason\":{end}}}]}}\n\n"
        )
    };
    socket
        .write_all(piece("<think>hm</think>Once upon ", "null").as_bytes())
        .await?;
    socket.flush().await?;
    go_on.acquire().await.unwrap().forget();
    socket
        .write_all(piece("a time.", "\"stop\"").as_bytes())
        .await?;
    socket.shutdown().await
}

async fn sees_it_written(encrypted: bool) {
    let go_on = Arc::new(Semaphore::new(0));
    let model = server(Arc::clone(&go_on)).await;
    let shop = Inside::start(|relay| {
        format!(
            "[nostr]\nrelays = [\"{relay}\"]\nkinds = [5050]\nannounce = false\n[text]\nmodel = \"m\"\n\
             [price]\nmin_price_sats = 0\nprice_per_1k_tokens = 0\n[wallet]\nbackend = \"sandbox\"\nnetwork = \"regtest\"\n\
             [[endpoint]]\nname = \"gpu\"\nkind = \"openai\"\nurl = \"{model}\"\n"
        )
    })
    .await;
    online(&shop.engine).await.unwrap();
    let (buyer, seller) = (Keys::generate(), shop.home.seller.public_key());
    let tags = [
        ["i", "Tell me a story.", "text"],
        ["param", "stream", "true"],
    ];
    let p = Tag::public_key(seller);
    let builder = if encrypted {
        let text = serde_json::to_string(&tags).unwrap();
        let sealed = nip44::encrypt(buyer.secret_key(), &seller, text, nip44::Version::V2);
        EventBuilder::new(Kind::from_u16(5050), sealed.unwrap())
            .tags([p, Tag::parse(["encrypted"]).unwrap()])
    } else {
        let tags = tags
            .iter()
            .map(|tag| Tag::parse(tag.iter().copied()).unwrap());
        EventBuilder::new(Kind::from_u16(5050), "").tags(tags.chain([p]))
    };
    let request = builder.sign_with_keys(&buyer).unwrap();
    shop.relay.inject(&request);
    let read = |content: &str| {
        if encrypted {
            nip44::decrypt(buyer.secret_key(), &seller, content).unwrap()
        } else {
            content.to_owned()
        }
    };
    let is_partial = |event: &nostr::Event| status_of(event).as_deref() == Some("partial");
    let partial = shop.answer(&request, is_partial).await;
    assert_eq!(read(&partial.content), "Once upon");
    go_on.add_permits(1);
    let result = shop.answer(&request, is_result).await;
    assert_eq!(read(&result.content), "Once upon a time.");
    // Nothing of it is kept, so nothing of it is sent again.
    let kept = shop.json(&["jobs", "show", &request.id.to_hex()]);
    assert!(!kept.to_string().contains("partial"), "{kept}");
    shop.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_text_so_far_is_told_in_clear() {
    sees_it_written(false).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_text_so_far_is_told_in_the_order_s_encryption() {
    sees_it_written(true).await;
}
