//! The payload of a job, as the fields of its JSON give it. Pure.

use jobwright_core::job::Payload;
use jobwright_core::name::shorten;
use jobwright_core::outcome::{is_json, is_media_type};
use serde_json::value::RawValue;

use crate::api::http::base64;
use crate::api::http::error::ApiError;
use crate::api::http::fields::Fields;
use crate::api::http::problem_code::ProblemCode;

/// Takes the payload: a JSON value verbatim, the contents of a JSON string if the media type is not JSON, or
/// decoded base64.
pub(super) fn take(fields: &mut Fields) -> Result<Payload, ApiError> {
    let json = fields.take_raw("payload");
    let base64 = fields.take::<String>("payload_base64", "a string");
    let content_type = fields.take::<String>("content_type", "a string");
    let bytes = match (json, base64) {
        (Some(_), Some(_)) => {
            let detail = "`payload` and `payload_base64` exclude each other: give one";
            return Err(ApiError::new(ProblemCode::TwoPayloads, detail));
        }
        (Some(json), None) => {
            let kind = content_type.unwrap_or_else(|| "application/json".to_owned());
            let bytes = match is_json(&kind) || !is_media_type(&kind) {
                true => json.get().to_owned(),
                false => string(fields, &json, &kind),
            };
            return Ok(Payload { content_type: Some(kind), bytes: bytes.into() });
        }
        (None, Some(text)) => base64::decode(&text).unwrap_or_else(|error| {
            fields.wrong("payload_base64", error);
            vec![]
        }),
        (None, None) => vec![],
    };
    Ok(Payload { content_type, bytes: bytes.into() })
}

/// The string that a payload of the media type `kind` is.
fn string(fields: &mut Fields, json: &RawValue, kind: &str) -> String {
    match serde_json::from_str(json.get()) {
        Ok(text) => return text,
        Err(_) if json.get().starts_with('"') => {
            fields
                .wrong("payload", "contains an unpaired surrogate escape (`\\uD800` to `\\uDFFF`)");
        }
        Err(_) => {
            let kind = shorten(kind);
            let message = format!(
                "expected a string, because `content_type` is `{kind}`: give a string, the bytes in \
                 `payload_base64`, or a media type of JSON"
            );
            fields.wrong("payload", message);
        }
    }
    String::new()
}
