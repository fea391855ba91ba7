//! Encodes text as a QR code: the text is the body of the request, the picture that of the response.

use std::fmt::Write;

use qrcodegen::{QrCode, QrCodeEcc};
use wstd::http::{Body, Request, Response, Result, StatusCode};

/// The width of the white border around a code, in modules (ISO/IEC 18004).
const QUIET_ZONE: i32 = 4;

#[wstd::http_server]
async fn main(mut request: Request<Body>) -> Result<Response<Body>> {
    let body = request.body_mut().contents().await?;
    let (status, content_type, body) = match code(body) {
        Ok(code) => (StatusCode::OK, "image/svg+xml", svg(&code)),
        Err(fault) => (StatusCode::UNPROCESSABLE_ENTITY, "text/plain", fault),
    };
    let response = Response::builder().status(status).header("content-type", content_type);
    Ok(response.body(body.into())?)
}

fn code(body: &[u8]) -> std::result::Result<QrCode, String> {
    let text = str::from_utf8(body).map_err(|error| format!("the text is not UTF-8: {error}"))?;
    if text.is_empty() {
        return Err("there is no text".to_owned());
    }
    QrCode::encode_text(text, QrCodeEcc::Medium)
        .map_err(|_| format!("{} bytes of text are more than a QR code holds", text.len()))
}

/// A picture whose unit is one module: a path with a square for each black one.
fn svg(code: &QrCode) -> String {
    let side = code.size() + 2 * QUIET_ZONE;
    let mut path = String::new();
    for y in 0..code.size() {
        for x in (0..code.size()).filter(|&x| code.get_module(x, y)) {
            // Writing to a string does not fail.
            let _ = write!(path, "M{},{}h1v1h-1z", x + QUIET_ZONE, y + QUIET_ZONE);
        }
    }
    format!(
        r#"<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {side} {side}"><path d="M0,0h{side}v{side}h-{side}z" fill="white"/><path d="{path}"/></svg>"#
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_short_text_makes_a_small_code() {
        let code = code(b"jobwright").unwrap();
        assert_eq!(code.size(), 21);
        // The top left corner of the first finder pattern.
        assert!(svg(&code).contains(r#"<path d="M4,4h1v1h-1zM5,4h"#));
    }

    #[test]
    fn text_that_fits_no_code_is_reported() {
        assert_eq!(code(b"").err().unwrap(), "there is no text");
        let fault = code(&[b'x'; 3000]).err().unwrap();
        assert_eq!(fault, "3000 bytes of text are more than a QR code holds");
    }
}
