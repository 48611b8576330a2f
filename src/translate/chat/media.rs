//! Pictures, sound and video in a turn: inline bytes become data URLs, and the operator allows the hosts of other URLs.
//!
//! Sound goes as `audio_url`, which vLLM takes since 0.6 with any media type; OpenAI's `input_audio` knows only `wav` and
//! `mp3`.

use base64::{Engine, engine::general_purpose::STANDARD};
use url::{Host, Url};

use crate::{
    config::Policy,
    openai::request::{MediaUrl, PartKind},
    proto::{self, media::Source},
    translate::{invalid::InvalidRequest, sampling::text},
};

use super::media_type::{self, Kind};

/// A part of a message. A file has no kind but that of its media type.
pub(super) fn part(
    kind: Option<Kind>,
    media: proto::Media,
    policy: &Policy,
) -> Result<PartKind, InvalidRequest> {
    let proto::Media {
        source,
        media_type,
        detail,
        cache_key,
    } = media;
    let media_type = media_type::checked(media_type)?;
    let uuid = text(cache_key);
    let (kind, url) = match source {
        Some(Source::Url(url)) if !url.is_empty() => from_url(kind, url, media_type, policy)?,
        Some(Source::Data(data)) if !data.is_empty() => from_data(kind, &data, media_type)?,
        // The upstream's cache has it.
        _ if uuid.is_some() => (kind_of(kind, media_type.as_deref())?, None),
        Some(_) | None => {
            let description = "has no content: set `url`, `data` or `cache_key`";
            return Err(InvalidRequest::new("", description));
        }
    };
    let detail = self::detail(detail, kind)?;
    let url = url.map(|url| MediaUrl { url, detail });
    Ok(match kind {
        Kind::Image => PartKind::ImageUrl {
            image_url: url,
            uuid,
        },
        Kind::Audio => PartKind::AudioUrl {
            audio_url: url,
            uuid,
        },
        Kind::Video => PartKind::VideoUrl {
            video_url: url,
            uuid,
        },
    })
}

fn from_data(
    kind: Option<Kind>,
    data: &[u8],
    media_type: Option<String>,
) -> Result<(Kind, Option<String>), InvalidRequest> {
    let media_type = match media_type {
        Some(media_type) => media_type,
        None => media_type::read(data, kind)?,
    };
    let kind = kind_of(kind, Some(&media_type))?;
    let data = STANDARD.encode(data);
    Ok((kind, Some(format!("data:{media_type};base64,{data}"))))
}

fn from_url(
    kind: Option<Kind>,
    url: String,
    media_type: Option<String>,
    policy: &Policy,
) -> Result<(Kind, Option<String>), InvalidRequest> {
    let inline = data_url(&url)?;
    let kind = kind_of(kind, media_type.as_deref().or(inline))?;
    let url = match inline {
        Some(_) => url,
        None => remote(&url, policy)?,
    };
    Ok((kind, Some(url)))
}

/// The kind of the field, or for a file that of the media type.
fn kind_of(kind: Option<Kind>, media_type: Option<&str>) -> Result<Kind, InvalidRequest> {
    if let Some(kind) = kind {
        return Ok(kind);
    }
    let Some(media_type) = media_type else {
        return Err(InvalidRequest::new("media_type", "is required for a file"));
    };
    media_type::kind(media_type).ok_or_else(|| {
        let description =
            "must be `image/*`, `audio/*` or `video/*`: vLLM has no part for other files";
        InvalidRequest::new("media_type", description)
    })
}

/// The media type of a `data` URL; `None` for another URL. vLLM reads only base64.
fn data_url(url: &str) -> Result<Option<&str>, InvalidRequest> {
    let is_data = url
        .get(..5)
        .is_some_and(|scheme| scheme.eq_ignore_ascii_case("data:"));
    if !is_data {
        return Ok(None);
    }
    let spec = url.get(5..).and_then(|rest| rest.split_once(','));
    let Some(media_type) = spec.and_then(|(spec, _)| spec.strip_suffix(";base64")) else {
        let description = "a `data` URL must be in base64: `data:image/png;base64,…`";
        return Err(InvalidRequest::new("url", description));
    };
    Ok(media_type.split(';').next())
}

/// A URL for the upstream to fetch, written as it was checked, so that both read the same host in it.
fn remote(url: &str, policy: &Policy) -> Result<String, InvalidRequest> {
    let refused = |description: &str| Err(InvalidRequest::new("url", description));
    let Ok(url) = Url::parse(url) else {
        return refused("is not a URL");
    };
    if !matches!(url.scheme(), "http" | "https") {
        return refused("must be an `https`, `http` or `data` URL");
    }
    if !url.username().is_empty() || url.password().is_some() {
        return refused("must not hold a user name or a password");
    }
    if !is_allowed(&url, policy) {
        return refused(
            "its host is not among those that the operator allows (--allow-media-hosts)",
        );
    }
    Ok(url.into())
}

fn is_allowed(url: &Url, policy: &Policy) -> bool {
    let hosts = &policy.media_hosts;
    let host = match url.host() {
        Some(Host::Domain(domain)) => domain.to_ascii_lowercase(),
        Some(Host::Ipv4(address)) => address.to_string(),
        Some(Host::Ipv6(address)) => format!("[{address}]"),
        None => return false,
    };
    hosts.contains("*") || hosts.contains(&host)
}

fn detail(detail: String, kind: Kind) -> Result<Option<String>, InvalidRequest> {
    match (detail.as_str(), kind) {
        ("", _) => Ok(None),
        ("auto" | "low" | "high", Kind::Image) => Ok(Some(detail)),
        (_, Kind::Image) => Err(InvalidRequest::new(
            "detail",
            "must be `auto`, `low` or `high`",
        )),
        (_, Kind::Audio | Kind::Video) => Err(InvalidRequest::new(
            "detail",
            "is allowed only for pictures",
        )),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    const PNG: &[u8] = b"\x89PNG\r\n\x1a\n";

    fn policy(hosts: &[&str]) -> Policy {
        Policy {
            media_hosts: hosts.iter().map(|host| (*host).to_owned()).collect(),
            ..Policy::default()
        }
    }

    fn url(url: &str) -> proto::Media {
        proto::Media {
            source: Some(Source::Url(url.to_owned())),
            ..proto::Media::default()
        }
    }

    fn data(data: &'static [u8]) -> proto::Media {
        proto::Media {
            source: Some(Source::Data(data.into())),
            ..proto::Media::default()
        }
    }

    #[track_caller]
    fn check(kind: Option<Kind>, media: proto::Media, expected: Value) {
        let part = part(kind, media, &policy(&["media.example", "[::1]"])).unwrap();
        assert_eq!(serde_json::to_value(part).unwrap(), expected);
    }

    #[track_caller]
    fn refused(kind: Option<Kind>, media: proto::Media, field: &str, says: &str) {
        let invalid = part(kind, media, &policy(&["media.example"])).unwrap_err();
        let invalid = invalid.within("it");
        let violation = &invalid.violations()[0];
        assert_eq!(violation.field, field);
        assert!(violation.description.contains(says), "{invalid}");
    }

    #[test]
    fn bytes_become_a_data_url() {
        let image = json!({"type": "image_url", "image_url": {"url": "data:image/png;base64,iVBORw0KGgo="}});
        check(Some(Kind::Image), data(PNG), image.clone());
        check(None, data(PNG), image);
        let given = proto::Media {
            media_type: "audio/x-own".to_owned(),
            ..data(b"abc")
        };
        let audio =
            json!({"type": "audio_url", "audio_url": {"url": "data:audio/x-own;base64,YWJj"}});
        check(Some(Kind::Audio), given.clone(), audio.clone());
        check(None, given, audio);
    }

    #[test]
    fn a_url_goes_out_as_it_was_checked() {
        check(
            Some(Kind::Video),
            url("HTTPS://Media.Example:8443/a b?c#d"),
            json!({"type": "video_url", "video_url": {"url": "https://media.example:8443/a%20b?c#d"}}),
        );
        let v6 = json!({"type": "image_url", "image_url": {"url": "http://[::1]/"}});
        check(Some(Kind::Image), url("http://[0:0::1]"), v6);
        let inline = "data:image/png;name=x;base64,AA==";
        let image = json!({"type": "image_url", "image_url": {"url": inline}});
        check(None, url(inline), image);
    }

    #[test]
    fn any_host_may_be_allowed_and_none_is_by_default() {
        let image = |hosts| part(Some(Kind::Image), url("http://a.example/x"), &policy(hosts));
        assert!(image(&["*"]).is_ok());
        assert!(image(&["b.example"]).is_err());
        assert!(image(&[]).is_err());
    }

    #[test]
    fn a_url_that_might_reach_elsewhere_is_refused() {
        for (address, says) in [
            ("http://other.example/a.png", "--allow-media-hosts"),
            ("http://media.example./a.png", "--allow-media-hosts"),
            ("http://media.example.evil.example/", "--allow-media-hosts"),
            ("http://media.example%2f@evil.example/", "user name"),
            ("http://media.example@evil.example/", "user name"),
            ("http://:secret@media.example/", "user name"),
            ("http://2130706433/", "--allow-media-hosts"),
            ("file:///etc/passwd", "`https`, `http` or `data`"),
            ("ftp://media.example/a", "`https`, `http` or `data`"),
            ("//media.example/a", "is not a URL"),
            ("media.example/a.png", "is not a URL"),
            ("http://", "is not a URL"),
            ("data:image/png,abc", "base64"),
            ("DATA:image/png;base64", "base64"),
        ] {
            refused(Some(Kind::Image), url(address), "it.url", says);
        }
    }

    /// Readers differ on whose host a backslash ends, so it does not go out.
    #[test]
    fn a_backslash_does_not_hide_a_host() {
        check(
            Some(Kind::Image),
            url(r"http://media.example\@evil.example/"),
            json!({"type": "image_url", "image_url": {"url": "http://media.example/@evil.example/"}}),
        );
        let hidden = url(r"http://evil.example\@media.example/");
        refused(Some(Kind::Image), hidden, "it.url", "--allow-media-hosts");
    }

    #[test]
    fn a_name_alone_takes_what_is_cached() {
        let cached = |media_type: &str| proto::Media {
            cache_key: "k".to_owned(),
            media_type: media_type.to_owned(),
            ..proto::Media::default()
        };
        let image = json!({"type": "image_url", "image_url": null, "uuid": "k"});
        check(Some(Kind::Image), cached(""), image);
        let video = json!({"type": "video_url", "video_url": null, "uuid": "k"});
        check(None, cached("video/mp4"), video);
        refused(None, cached(""), "it.media_type", "is required");
    }

    #[test]
    fn a_picture_may_have_its_detail() {
        let detailed = |detail: &str, media| proto::Media {
            detail: detail.to_owned(),
            ..media
        };
        let url = "data:image/png;base64,iVBORw0KGgo=";
        let image = json!({"type": "image_url", "image_url": {"url": url, "detail": "low"}});
        check(Some(Kind::Image), detailed("low", data(PNG)), image);
        let unknown = detailed("most", data(PNG));
        refused(Some(Kind::Image), unknown, "it.detail", "`auto`");
        let sound = detailed("low", data(b"fLaC"));
        refused(Some(Kind::Audio), sound, "it.detail", "only for pictures");
    }

    #[test]
    fn media_without_content_is_refused() {
        let says = "has no content";
        refused(Some(Kind::Image), proto::Media::default(), "it", says);
        refused(Some(Kind::Image), url(""), "it", says);
        refused(None, data(b""), "it", says);
    }

    #[test]
    fn a_file_is_of_a_kind_that_vllm_has_a_part_for() {
        let typed = |media_type: &str, media| proto::Media {
            media_type: media_type.to_owned(),
            ..media
        };
        let pdf = typed("application/pdf", data(b"%PDF"));
        refused(None, pdf, "it.media_type", "no part for other files");
        refused(None, data(b"%PDF"), "it.media_type", "is required");
        let remote = url("https://media.example/a.mp4");
        refused(None, remote.clone(), "it.media_type", "is required");
        let video =
            json!({"type": "video_url", "video_url": {"url": "https://media.example/a.mp4"}});
        check(None, typed("video/mp4", remote), video);
    }
}
