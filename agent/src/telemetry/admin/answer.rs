//! How the two listeners put an answer into HTTP.

use bytes::Bytes;
use http_body_util::Full;
use hyper::header::{ALLOW, CONTENT_TYPE, HeaderValue};
use hyper::{Response, StatusCode};

/// A whole answer.
pub(super) type HttpAnswer = Response<Full<Bytes>>;

pub(super) fn answer(status: StatusCode, media_type: &'static str, body: impl Into<Bytes>) -> HttpAnswer {
    let mut answer = Response::new(Full::new(body.into()));
    *answer.status_mut() = status;
    answer.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(media_type));
    answer
}

pub(super) fn text(status: StatusCode, body: impl Into<Bytes>) -> HttpAnswer {
    answer(status, "text/plain; charset=utf-8", body)
}

pub(super) fn not_allowed(allowed: &'static str) -> HttpAnswer {
    let mut refused = text(StatusCode::METHOD_NOT_ALLOWED, format!("only {allowed}\n"));
    refused.headers_mut().insert(ALLOW, HeaderValue::from_static(allowed));
    refused
}

pub(super) fn json(value: &impl serde::Serialize) -> HttpAnswer {
    match serde_json::to_vec(value) {
        Ok(body) => answer(StatusCode::OK, "application/json", body),
        Err(error) => text(StatusCode::INTERNAL_SERVER_ERROR, format!("the answer cannot be written: {error}\n")),
    }
}
