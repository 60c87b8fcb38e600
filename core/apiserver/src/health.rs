//! `/livez`, `/readyz`, `/healthz`: named checks, `?verbose`, `?exclude=`, one check at a sub-path.

use std::sync::atomic::{AtomicBool, Ordering};

use http::{Response, StatusCode};

use crate::body::Body;
use crate::request_info::query_pairs;
use crate::responses;

/// A step of the start that has to be done once.
#[derive(Default)]
pub struct Hook(AtomicBool);

impl Hook {
    /// It is done.
    pub fn done(&self) {
        self.0.store(true, Ordering::Release);
    }

    /// Whether it is done.
    pub fn is_done(&self) -> bool {
        self.0.load(Ordering::Acquire)
    }
}

/// What readiness depends on besides the store.
#[derive(Default)]
pub struct Health {
    /// The RBAC objects have been read.
    pub rbac_synced: Hook,
    /// The bootstrap roles and bindings are there.
    pub bootstrap_roles: Hook,
    /// The system namespaces are there.
    pub system_namespaces: Hook,
    /// The system PriorityClasses are there.
    pub priority_classes: Hook,
    /// The APIServices of what is served here are there.
    pub api_services: Hook,
    /// The server is going down.
    pub shutting_down: Hook,
}

/// One check and how it went.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Check {
    name: &'static str,
    failure: Option<String>,
}

impl Check {
    fn hook(name: &'static str, hook: &Hook) -> Self {
        let failure = (!hook.is_done()).then(|| "not finished".to_string());
        Self { name, failure }
    }
}

/// Which of the three questions is asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Question {
    /// Is it alive: restart it if not.
    Live,
    /// May it be given requests.
    Ready,
    /// The old question: both.
    Health,
}

impl Question {
    /// The question of a path and the rest of it, `/readyz/etcd` being `(Ready, "etcd")`.
    pub fn of(path: &str) -> Option<(Self, &str)> {
        let path = path.trim_matches('/');
        let (first, rest) = path.split_once('/').unwrap_or((path, ""));
        match first {
            "livez" => Some((Self::Live, rest)),
            "readyz" => Some((Self::Ready, rest)),
            "healthz" => Some((Self::Health, rest)),
            _ => None,
        }
    }

    fn word(self) -> &'static str {
        match self {
            Self::Live => "livez",
            Self::Ready => "readyz",
            Self::Health => "healthz",
        }
    }
}

impl Health {
    /// Runs the checks; `store` says why the store does not answer.
    pub fn checks(&self, question: Question, store: Result<(), String>) -> Vec<Check> {
        let mut checks = vec![
            Check { name: "ping", failure: None },
            Check { name: "log", failure: None },
            Check { name: "etcd", failure: store.err() },
            Check::hook("poststarthook/rbac/bootstrap-roles", &self.bootstrap_roles),
            Check::hook(
                "poststarthook/scheduling/bootstrap-system-priority-classes",
                &self.priority_classes,
            ),
            Check::hook(
                "poststarthook/start-system-namespaces-controller",
                &self.system_namespaces,
            ),
            Check::hook("autoregister-completion", &self.api_services),
        ];
        if question != Question::Live {
            checks.push(Check::hook("informer-sync", &self.rbac_synced));
            let failure = self.shutting_down.is_done().then(|| "process is shutting down".into());
            checks.push(Check { name: "shutdown", failure });
        }
        checks
    }

    /// Whether everything that the start does is done.
    pub fn is_started(&self) -> bool {
        let hooks = [
            &self.rbac_synced,
            &self.bootstrap_roles,
            &self.system_namespaces,
            &self.priority_classes,
            &self.api_services,
        ];
        hooks.into_iter().all(Hook::is_done)
    }
}

/// The answer to a question about these checks.
pub fn answer(question: Question, one: &str, query: &str, checks: &[Check]) -> Response<Body> {
    let (code, text) = render(question, one, query, checks);
    responses::text(code, text)
}

fn render(question: Question, one: &str, query: &str, checks: &[Check]) -> (StatusCode, String) {
    let excluded: Vec<String> =
        query_pairs(query).filter(|(key, _)| key == "exclude").map(|(_, name)| name).collect();
    let asked = |check: &&Check| one.is_empty() || check.name == one;
    let checks: Vec<&Check> = checks.iter().filter(asked).collect();
    if checks.is_empty() {
        return (StatusCode::NOT_FOUND, "404 page not found\n".to_string());
    }
    let counted = |check: &&&Check| !excluded.iter().any(|name| name == check.name);
    let failed = checks.iter().filter(counted).any(|check| check.failure.is_some());
    let lines: String = checks.iter().map(|check| line(check, &excluded)).collect();
    let word = question.word();
    match (failed, query_pairs(query).any(|(key, _)| key == "verbose")) {
        (true, _) => (StatusCode::INTERNAL_SERVER_ERROR, format!("{lines}{word} check failed\n")),
        (false, true) => (StatusCode::OK, format!("{lines}{word} check passed\n")),
        (false, false) => (StatusCode::OK, "ok".to_string()),
    }
}

fn line(check: &Check, excluded: &[String]) -> String {
    let name = check.name;
    if excluded.iter().any(|excluded| excluded == name) {
        return format!("[+]{name} excluded: ok\n");
    }
    match &check.failure {
        None => format!("[+]{name} ok\n"),
        Some(_) => format!("[-]{name} failed: reason withheld\n"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ready() -> Health {
        let health = Health::default();
        for hook in [
            &health.rbac_synced,
            &health.bootstrap_roles,
            &health.system_namespaces,
            &health.priority_classes,
            &health.api_services,
        ] {
            hook.done();
        }
        health
    }

    fn ask(health: &Health, path: &str, query: &str, store: Result<(), String>) -> (u16, String) {
        let (question, one) = Question::of(path).unwrap();
        let (code, text) = render(question, one, query, &health.checks(question, store));
        (code.as_u16(), text)
    }

    #[test]
    fn ready_only_when_every_step_is_done_and_the_store_answers() {
        assert_eq!(ask(&Health::default(), "/readyz", "", Ok(())).0, 500);
        assert_eq!(ask(&ready(), "/readyz", "", Ok(())), (200, "ok".to_string()));
        let (code, text) = ask(&ready(), "/readyz", "", Err("gone".into()));
        assert_eq!(code, 500);
        assert!(text.contains("[-]etcd failed: reason withheld"), "{text}");
        assert_eq!(ask(&ready(), "/readyz", "exclude=etcd", Err("gone".into())).0, 200);
    }

    #[test]
    fn verbose_lists_and_sub_paths_ask_one() {
        let (_, text) = ask(&ready(), "/livez", "verbose", Ok(()));
        assert!(text.ends_with("livez check passed\n"), "{text}");
        assert_eq!(ask(&ready(), "/livez/ping", "", Ok(())).0, 200);
        assert_eq!(ask(&ready(), "/livez/nonsense", "", Ok(())).0, 404);
        let going = ready();
        going.shutting_down.done();
        assert_eq!(ask(&going, "/readyz", "", Ok(())).0, 500);
        assert_eq!(ask(&going, "/livez", "", Ok(())).0, 200);
    }
}
