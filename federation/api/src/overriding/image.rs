//! Changes of parts of image references.

use std::fmt;

use serde_json::Value;

use super::OverrideError;
use crate::kinds::{ImageComponent, ImageOverrider, OverriderOperator};
use crate::pods;

pub(super) fn apply(object: &mut Value, change: &ImageOverrider) -> Result<(), OverrideError> {
    if let Some(predicate) = &change.predicate {
        let Some(place) = object.pointer_mut(&predicate.path) else {
            return Err(OverrideError::Path(predicate.path.clone(), "nothing is there".into()));
        };
        return change_image(place, change);
    }
    let Some(pod) = pods::spec_mut(object) else { return Ok(()) };
    for list in ["containers", "initContainers"] {
        for container in pod.get_mut(list).and_then(Value::as_array_mut).into_iter().flatten() {
            if container.get("image").is_some() {
                change_image(&mut container["image"], change)?;
            }
        }
    }
    Ok(())
}

fn change_image(place: &mut Value, change: &ImageOverrider) -> Result<(), OverrideError> {
    let text = place.as_str().unwrap_or_default();
    let mut image = Image::parse(text).ok_or_else(|| OverrideError::Image(text.into()))?;
    let part = match change.component {
        ImageComponent::Registry => &mut image.registry,
        ImageComponent::Repository => &mut image.repository,
        ImageComponent::Tag => &mut image.tag,
    };
    match change.operator {
        OverriderOperator::Add => part.push_str(&change.value),
        OverriderOperator::Replace => *part = change.value.clone(),
        OverriderOperator::Remove => part.clear(),
    }
    *place = image.to_string().into();
    Ok(())
}

/// An image reference in parts; `tag` begins with `sha256:` if it is a digest.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Image {
    registry: String,
    repository: String,
    tag: String,
    digest: String,
}

impl Image {
    fn parse(text: &str) -> Option<Self> {
        let (rest, digest) = text.split_once('@').unwrap_or((text, ""));
        let (registry, path) = match rest.split_once('/') {
            Some((first, path)) if is_host(first) => (first, path),
            _ => ("", rest),
        };
        let (repository, tag) = path.rsplit_once(':').unwrap_or((path, ""));
        let image = Self {
            registry: registry.into(),
            repository: repository.into(),
            tag: if tag.is_empty() { digest.into() } else { tag.into() },
            digest: if tag.is_empty() { String::new() } else { digest.into() },
        };
        (!repository.is_empty()).then_some(image)
    }
}

/// The rule by which a reference's first part is a host: a dot, a port, or `localhost`.
fn is_host(part: &str) -> bool {
    part == "localhost" || part.contains(['.', ':'])
}

impl fmt::Display for Image {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if !self.registry.is_empty() {
            write!(f, "{}/", self.registry)?;
        }
        f.write_str(&self.repository)?;
        match (self.tag.as_str(), self.digest.as_str()) {
            ("", "") => Ok(()),
            ("", digest) => write!(f, "@{digest}"),
            (tag, "") if tag.contains(':') => write!(f, "@{tag}"),
            (tag, "") => write!(f, ":{tag}"),
            (tag, digest) => write!(f, ":{tag}@{digest}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn references_come_back_as_they_were() {
        for text in [
            "busybox",
            "busybox:1.36",
            "library/busybox",
            "localhost/a",
            "localhost:5000/a/b:v1",
            "r.example/a@sha256:00",
            "r.example/a:v1@sha256:00",
        ] {
            assert_eq!(Image::parse(text).unwrap().to_string(), text);
        }
        assert_eq!(Image::parse(""), None);
        assert_eq!(Image::parse("r.example/a:1").unwrap().registry, "r.example");
        assert_eq!(Image::parse("library/a").unwrap().registry, "");
    }
}
