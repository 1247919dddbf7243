//! Answers that a client must not trust: of the wrong shape, compressed, slow, endless.

use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use axum::body::{Body, Bytes};
use axum::http::header::{CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_TYPE};
use axum::http::{HeaderValue, Response, StatusCode};
use axum::response::IntoResponse as _;
use http_body_util::BodyExt as _;
use hyper::body::Frame;
use serde_json::json;
use tokio::time::Sleep;

use super::exchange::Reply;
use super::seed::QUOTED;

/// The pause before each byte of a slow answer.
const DRIP: Duration = Duration::from_millis(20);

/// The size of a huge answer, in bytes.
const HUGE: usize = 20 << 20;

/// What is sent at once of a huge answer, in bytes.
const CHUNK: usize = 64 << 10;

/// The contract's fields, none with its type.
pub(super) fn wrong_type() -> Reply {
    let answer = json!({
        "elements": QUOTED, "id": QUOTED, "name": 5, "userData": QUOTED, "credentials": QUOTED, "scopes": QUOTED,
        "pageInfo": QUOTED,
        "data": {"viewer": QUOTED, "users": QUOTED, "authorize": QUOTED, "createExternalUser": QUOTED,
            "createUserAuthentication": QUOTED, "removeAuthentication": QUOTED},
    });
    Reply::Json(StatusCode::OK, answer)
}

/// The answer a byte at a time, without its length.
pub(super) async fn slow(answer: Response<Body>) -> Response<Body> {
    let (mut head, body) = answer.into_parts();
    head.headers.remove(CONTENT_LENGTH);
    // The emulator's own answers are in memory.
    let rest = body.collect().await.map(http_body_util::Collected::to_bytes).unwrap_or_default();
    Response::from_parts(head, Body::new(Pieces { rest, size: 1, pause: Some(Box::pin(tokio::time::sleep(DRIP))) }))
}

/// JSON that goes on.
pub(super) fn huge() -> Response<Body> {
    let mut text = format!(r#"{{"elements":[],"data":null,"message":"{QUOTED}"#).into_bytes();
    text.resize(HUGE, b'x');
    text.extend_from_slice(br#""}"#);
    let body = Body::new(Pieces { rest: text.into(), size: CHUNK, pause: None });
    ([(CONTENT_TYPE, "application/json; charset=utf-8")], body).into_response()
}

/// 32 MiB of spaces, compressed.
pub(super) fn gzip() -> Response<Body> {
    const SPACES: usize = 32 << 20;
    /// What a repetition stands for at most (RFC 1951, 3.2.5).
    const REPETITION: usize = 258;
    // RFC 1952: a gzip header without name or time.
    let mut bits = Bits { bytes: vec![0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 255], used: 0 };
    // RFC 1951, with the fixed codes of 3.2.6: the last block, a space, and repetitions of the byte before.
    bits.push("1");
    bits.push("10");
    bits.push("01010000");
    for _ in 0..SPACES / REPETITION {
        bits.push("11000101");
        bits.push("00000");
    }
    bits.push("0000000");
    // No checksum follows: who gets as far as that has unpacked it.
    let mut response = ([(CONTENT_TYPE, "application/json; charset=utf-8")], bits.bytes).into_response();
    response.headers_mut().insert(CONTENT_ENCODING, HeaderValue::from_static("gzip"));
    response
}

/// Bits, the first of each byte lowest.
struct Bits {
    bytes: Vec<u8>,
    /// Bits of the last byte that are used; none of a whole byte.
    used: u8,
}

impl Bits {
    fn push(&mut self, bits: &str) {
        for bit in bits.bytes() {
            if self.used == 0 {
                self.bytes.push(0);
            }
            if let Some(last) = self.bytes.last_mut() {
                *last |= u8::from(bit == b'1') << self.used;
            }
            self.used = (self.used + 1) % 8;
        }
    }
}

/// A body that comes in pieces, each after a pause if there is one.
struct Pieces {
    rest: Bytes,
    size: usize,
    pause: Option<Pin<Box<Sleep>>>,
}

impl hyper::body::Body for Pieces {
    type Data = Bytes;
    type Error = std::convert::Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        if self.rest.is_empty() {
            return Poll::Ready(None);
        }
        if let Some(pause) = &mut self.pause {
            ready!(pause.as_mut().poll(context));
            pause.as_mut().reset(tokio::time::Instant::now() + DRIP);
        }
        let size = self.size.min(self.rest.len());
        Poll::Ready(Some(Ok(Frame::data(self.rest.split_to(size)))))
    }
}
