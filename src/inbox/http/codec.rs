use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Response, StatusCode, header};

use super::{
    IdempotencyBody,
    error::{ResponseBeyondLimit, UnreadableResponse},
};
use crate::{error::BoxError, inbox::replay::Codec};

/// A response and what to keep of it.
pub(super) struct Answer<R> {
    pub(super) response: Response<IdempotencyBody<R>>,
    /// Whether anybody can ask for it again.
    pub(super) has_key: bool,
}

/// Writes responses down: a version, the status, headers, trailers, and the body to the end.
///
/// Lengths and the status are big-endian; a header is a flag for "sensitive", the length of its name
/// in two bytes, its name, the length of its value in four, its value.
#[derive(Debug, Clone, Copy)]
pub(super) struct AnswerCodec {
    pub(super) max_body: usize,
}

impl<R> Codec<Answer<R>> for AnswerCodec {
    fn encode(&self, answer: &Answer<R>) -> Result<Vec<u8>, BoxError> {
        let Answer { response, has_key } = answer;
        if !has_key {
            return Ok(Vec::new());
        }
        let limit = self.max_body;
        let beyond = ResponseBeyondLimit { status: response.status(), limit };
        let body = response.body();
        if !body.is_whole() {
            return Err(beyond.into());
        }
        let mut bytes = vec![VERSION];
        bytes.extend(response.status().as_u16().to_be_bytes());
        let kept = |name: &HeaderName| is_kept(name, response.headers());
        write_headers(&mut bytes, response.headers(), kept)?;
        write_headers(&mut bytes, body.trailers().unwrap_or(&HeaderMap::new()), |_| true)?;
        if bytes.len() > MAX_HEAD {
            return Err(beyond.into());
        }
        bytes.extend(body.data());
        Ok(bytes)
    }

    fn decode(&self, bytes: &[u8]) -> Result<Answer<R>, BoxError> {
        let response = read(bytes).ok_or(UnreadableResponse)?;
        Ok(Answer { response, has_key: true })
    }
}

/// Whether a header says something about the response and not about its connection or moment.
fn is_kept(name: &HeaderName, headers: &HeaderMap) -> bool {
    const LEFT_OUT: [HeaderName; 8] = [
        header::CONNECTION,
        HeaderName::from_static("keep-alive"),
        HeaderName::from_static("proxy-connection"),
        header::TE,
        header::TRANSFER_ENCODING,
        header::UPGRADE,
        header::PROXY_AUTHENTICATE,
        // The server's own; a replay has its own, too.
        header::DATE,
    ];
    let named = |value: &HeaderValue| {
        let options = value.as_bytes().split(|byte| *byte == b',');
        options.map(<[u8]>::trim_ascii).any(|o| o.eq_ignore_ascii_case(name.as_str().as_bytes()))
    };
    !LEFT_OUT.contains(name) && !headers.get_all(header::CONNECTION).iter().any(named)
}

fn write_headers(
    bytes: &mut Vec<u8>,
    headers: &HeaderMap,
    kept: impl Fn(&HeaderName) -> bool,
) -> Result<(), BoxError> {
    let kept: Vec<_> = headers.iter().filter(|(name, _)| kept(name)).collect();
    bytes.extend(u16::try_from(kept.len())?.to_be_bytes());
    for (name, value) in kept {
        bytes.push(u8::from(value.is_sensitive()));
        bytes.extend(u16::try_from(name.as_str().len())?.to_be_bytes());
        bytes.extend(name.as_str().as_bytes());
        bytes.extend(u32::try_from(value.len())?.to_be_bytes());
        bytes.extend(value.as_bytes());
    }
    Ok(())
}

fn read<R>(bytes: &[u8]) -> Option<Response<IdempotencyBody<R>>> {
    let mut bytes = bytes.strip_prefix(&[VERSION])?;
    let status = StatusCode::from_u16(u16::from_be_bytes(take(&mut bytes)?)).ok()?;
    let headers = read_headers(&mut bytes)?;
    let trailers = Some(read_headers(&mut bytes)?).filter(|trailers| !trailers.is_empty());
    let body = IdempotencyBody::whole(Bytes::copy_from_slice(bytes), trailers);
    let mut response = Response::new(body);
    *response.status_mut() = status;
    *response.headers_mut() = headers;
    Some(response)
}

fn read_headers(bytes: &mut &[u8]) -> Option<HeaderMap> {
    let mut headers = HeaderMap::new();
    for _ in 0..u16::from_be_bytes(take(bytes)?) {
        let [sensitive] = take(bytes)?;
        let length = u16::from_be_bytes(take(bytes)?);
        let name = HeaderName::from_bytes(bytes.split_off(..length.into())?).ok()?;
        let length = usize::try_from(u32::from_be_bytes(take(bytes)?)).ok()?;
        let mut value = HeaderValue::from_bytes(bytes.split_off(..length)?).ok()?;
        value.set_sensitive(sensitive != 0);
        headers.try_append(name, value).ok()?;
    }
    Some(headers)
}

fn take<const N: usize>(bytes: &mut &[u8]) -> Option<[u8; N]> {
    let (first, rest) = bytes.split_first_chunk()?;
    *bytes = rest;
    Some(*first)
}

const VERSION: u8 = 1;

// More than servers and clients let through: hyper's HTTP/1 buffer ends at 400 KiB, most others at 8
// to 64 KiB.
const MAX_HEAD: usize = 64 * 1024;

#[cfg(test)]
mod tests {
    use proptest::{collection::vec, prelude::*};

    use super::*;

    #[test]
    fn what_belongs_to_the_connection_or_the_moment_is_left_out() {
        let response = Response::builder()
            .header("connection", "close, X-Hop")
            .header("keep-alive", "timeout=5")
            .header("transfer-encoding", "chunked")
            .header("x-hop", "1")
            .header("date", "Wed, 25 Nov 2026 23:09:37 GMT")
            .header("location", "/payments/7")
            .body(b"".as_slice());
        let read = again(response.unwrap(), None);
        let names: Vec<_> = read.headers().keys().map(HeaderName::as_str).collect();
        assert_eq!(names, ["location"]);
    }

    #[test]
    fn a_sensitive_header_stays_sensitive() {
        let mut cookie = HeaderValue::from_static("session=7");
        cookie.set_sensitive(true);
        let response = Response::builder().header("set-cookie", cookie).body(b"".as_slice());
        assert!(again(response.unwrap(), None).headers()["set-cookie"].is_sensitive());
    }

    #[test]
    fn what_an_earlier_release_wrote_is_read() {
        let bytes = b"\x01\x00\xc9\x00\x01\x00\x00\x08location\x00\x00\x00\x02/7\x00\x00paid";
        let response = read::<()>(bytes).unwrap();
        assert_eq!(response.status(), StatusCode::CREATED);
        assert_eq!(response.headers()["location"], "/7");
        assert_eq!(response.body().data(), b"paid");
        assert!(response.body().trailers().is_none());
        assert_eq!(CODEC.encode(&answer(response)).unwrap(), bytes);
    }

    #[test]
    fn a_head_without_end_is_too_large() {
        let response =
            Response::builder().header("x-list", "7".repeat(MAX_HEAD)).body(b"".as_slice());
        let error = CODEC.encode(&answer(response.unwrap().map(whole))).unwrap_err();
        assert!(error.is::<ResponseBeyondLimit>());
    }

    proptest! {
        #[test]
        fn what_was_written_is_read_again(
            status in 100u16..1000,
            headers in vec(("x-[a-z]{1,4}", "[ -~]{0,20}"), 0..6),
            trailers in vec(("x-[a-z]{1,4}", "[ -~]{0,20}"), 0..3),
            body in vec(any::<u8>(), 0..50),
        ) {
            let mut response = Response::new(body.as_slice());
            *response.status_mut() = StatusCode::from_u16(status).unwrap();
            *response.headers_mut() = map(&headers);
            let trailers = Some(map(&trailers)).filter(|trailers| !trailers.is_empty());
            let read = again(response, trailers.clone());
            prop_assert_eq!(read.status().as_u16(), status);
            prop_assert_eq!(read.headers(), &map(&headers));
            prop_assert_eq!(read.body().trailers(), trailers.as_ref());
            prop_assert_eq!(read.body().data(), body);
        }

        #[test]
        fn any_bytes_are_a_response_or_nothing(mut bytes in vec(any::<u8>(), 0..80)) {
            let _ = read::<()>(&bytes);
            if let Some(first) = bytes.first_mut() {
                *first = VERSION;
            }
            let _ = read::<()>(&bytes);
        }
    }

    const CODEC: AnswerCodec = AnswerCodec { max_body: 1024 };

    fn again(
        response: Response<&[u8]>,
        trailers: Option<HeaderMap>,
    ) -> Response<IdempotencyBody<()>> {
        let body = |body: &[u8]| IdempotencyBody::whole(Bytes::copy_from_slice(body), trailers);
        let bytes = CODEC.encode(&answer(response.map(body))).unwrap();
        let answer: Answer<()> = CODEC.decode(&bytes).unwrap();
        answer.response
    }

    fn answer(response: Response<IdempotencyBody<()>>) -> Answer<()> {
        Answer { response, has_key: true }
    }

    fn whole(body: &[u8]) -> IdempotencyBody<()> {
        IdempotencyBody::whole(Bytes::copy_from_slice(body), None)
    }

    fn map(headers: &[(String, String)]) -> HeaderMap {
        let mut map = HeaderMap::new();
        for (name, value) in headers {
            map.append(HeaderName::try_from(name).unwrap(), HeaderValue::try_from(value).unwrap());
        }
        map
    }
}
