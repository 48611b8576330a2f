//! Pictures, sound and video in a turn: inline bytes become data URLs, and other URLs need the operator's leave.
//!
//! Sound goes as `audio_url`, which vLLM takes since 0.6 with any media type, where OpenAI's `input_audio` knows `wav`
//! and `mp3` alone.

use base64::{Engine, engine::general_purpose::STANDARD};
use url::{Host, Url};

use crate::{
    config::Policy,
    openai::request::{MediaUrl, Part},
    proto::{self, media::Source},
};

use super::{InvalidRequest, media_type, request::text};

/// The kinds of media that vLLM has parts for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Image,
    Audio,
    Video,
}

/// A part of a message. `name` is the field that `media` stands in; a file has no kind but that of its media type.
pub(super) fn part(
    name: &str,
    kind: Option<Kind>,
    media: proto::Media,
    policy: &Policy,
) -> Result<Part, InvalidRequest> {
    let proto::Media {
        source,
        media_type,
        detail,
        cache_key,
    } = media;
    let media_type = media_type::checked(media_type).map_err(|invalid| invalid.within(name))?;
    let detail = self::detail(detail).map_err(|invalid| invalid.within(name))?;
    let uuid = text(cache_key);
    let source = match source {
        Some(Source::Url(url)) if !url.is_empty() => Some(Source::Url(url)),
        Some(Source::Data(data)) if !data.is_empty() => Some(Source::Data(data)),
        _ if uuid.is_some() => None,
        Some(_) | None => {
            let description = "has no content: set `url`, `data` or `cache_key`";
            return Err(InvalidRequest::new(name, description));
        }
    };
    let (kind, url) =
        located(kind, source, media_type, policy).map_err(|invalid| invalid.within(name))?;
    if detail.is_some() && kind != Kind::Image {
        let field = format!("{name}.detail");
        return Err(InvalidRequest::new(field, "belongs to pictures only"));
    }
    let url = url.map(|url| MediaUrl { url, detail });
    Ok(match kind {
        Kind::Image => Part::ImageUrl {
            image_url: url,
            uuid,
        },
        Kind::Audio => Part::AudioUrl {
            audio_url: url,
            uuid,
        },
        Kind::Video => Part::VideoUrl {
            video_url: url,
            uuid,
        },
    })
}

/// The kind of the media and where it is; it is nowhere where the upstream's cache has it.
fn located(
    kind: Option<Kind>,
    source: Option<Source>,
    media_type: Option<String>,
    policy: &Policy,
) -> Result<(Kind, Option<String>), InvalidRequest> {
    match source {
        None => Ok((kind_of(kind, media_type.as_deref())?, None)),
        Some(Source::Data(data)) => {
            let media_type = match media_type {
                Some(media_type) => media_type,
                None => media_type::read(&data, kind)?,
            };
            let kind = kind_of(kind, Some(&media_type))?;
            let data = STANDARD.encode(&data);
            Ok((kind, Some(format!("data:{media_type};base64,{data}"))))
        }
        Some(Source::Url(url)) => {
            let inline = data_url(&url)?.map(str::to_owned);
            let kind = kind_of(kind, media_type.or_else(|| inline.clone()).as_deref())?;
            let url = if inline.is_some() {
                url
            } else {
                remote(&url, policy)?
            };
            Ok((kind, Some(url)))
        }
    }
}

/// The kind that the field says, or for a file the one that the media type says.
fn kind_of(kind: Option<Kind>, media_type: Option<&str>) -> Result<Kind, InvalidRequest> {
    if let Some(kind) = kind {
        return Ok(kind);
    }
    let Some(media_type) = media_type else {
        let description = "is needed, since it says what kind of file this is";
        return Err(InvalidRequest::new("media_type", description));
    };
    media_type::kind(media_type).ok_or_else(|| {
        let description =
            "must be `image/*`, `audio/*` or `video/*`: vLLM has no part for other files";
        InvalidRequest::new("media_type", description)
    })
}

/// The media type of a `data` URL, and `None` for another URL. vLLM reads base64 alone.
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

/// A URL that the upstream is to fetch, written as it was checked, so that both read the same host in it.
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

fn detail(detail: String) -> Result<Option<String>, InvalidRequest> {
    match detail.as_str() {
        "" => Ok(None),
        "auto" | "low" | "high" => Ok(Some(detail)),
        _ => Err(InvalidRequest::new(
            "detail",
            "must be `auto`, `low` or `high`",
        )),
    }
}
