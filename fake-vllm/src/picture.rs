//! What can be said of a picture without a model that sees.

use base64::{Engine, engine::general_purpose::STANDARD};
use serde_json::Value;

/// Describes the pictures of a turn; `None` where it has none.
pub(crate) fn description(turn: &Value) -> Option<String> {
    let parts = turn["content"].as_array().into_iter().flatten();
    let urls = parts.filter_map(|part| part.pointer("/image_url/url")?.as_str());
    let told: Vec<_> = urls.map(describe).collect();
    let told = told.join(" ");
    (!told.is_empty()).then(|| {
        format!("{told} No model runs here, so I cannot say what it shows; but it arrived whole.")
    })
}

fn describe(url: &str) -> String {
    let data = url
        .strip_prefix("data:")
        .and_then(|it| it.split_once(";base64,"));
    let Some((media_type, data)) = data else {
        return "I got the address of a picture, and fetch nothing.".to_owned();
    };
    let bytes = STANDARD.decode(data).unwrap_or_default();
    let n_bytes = bytes.len();
    let size = png_size(&bytes).map(|(width, height)| format!("{width} by {height} pixels, "));
    let size = size.unwrap_or_default();
    format!("I got a picture of type {media_type}: {size}{n_bytes} bytes.")
}

/// Width and height of a PNG, in pixels.
fn png_size(bytes: &[u8]) -> Option<(u32, u32)> {
    let number = |at: usize| Some(u32::from_be_bytes(bytes.get(at..at + 4)?.try_into().ok()?));
    bytes.starts_with(b"\x89PNG").then_some(())?;
    Some((number(16)?, number(20)?))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_picture_is_described_by_its_bytes() {
        let png = b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR\0\0\0\x20\0\0\0\x10";
        let png = format!("data:image/png;base64,{}", STANDARD.encode(png));
        for (url, expected) in [
            (
                png.as_str(),
                "of type image/png: 32 by 16 pixels, 24 bytes.",
            ),
            ("data:image/gif;base64,AAAA", "of type image/gif: 3 bytes."),
            ("https://a/b.png", "I got the address of a picture"),
        ] {
            let turn = json!({"content": [{"type": "image_url", "image_url": {"url": url}}]});
            let told = description(&turn).unwrap();
            assert!(told.contains(expected), "{told}");
        }
        assert_eq!(description(&json!({"content": "text"})), None);
    }
}
