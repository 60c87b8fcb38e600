//! `fedctl join`: a cluster becomes a member, with no more rights for the hub than it needs, and
//! with nothing left behind if that fails.

use std::time::Duration;

use anyhow::{Context, Result, bail};
use base64::Engine;
use hansa_api::k8s_openapi::api::authentication::v1::{TokenRequest, TokenRequestSpec};
use hansa_api::k8s_openapi::api::core::v1::{Node, ServiceAccount};
use hansa_client::kube::api::{Api, DeleteParams, ListParams, PostParams};
use hansa_client::kube::{Client, Error};
use hansa_federation_api::kinds::{Cluster, ClusterSpec, LocalSecretReference, SyncMode};
use hansa_federation_api::names;
use serde_json::{Value, json};

use crate::cli::Host;
use crate::context;
use crate::error::{Refused, Usage};
use crate::output::{put, say};
use crate::rbac::{self, Subject};
use crate::upsert::{Done, api_of, title, upsert};

/// Options of `join`.
#[derive(clap::Args)]
pub struct Options {
    /// The member's name in the federation.
    name: String,
    /// The member's context [default: NAME].
    #[arg(long)]
    cluster_context: Option<String>,
    /// The hub's name, part of the service account's [default: the hub's context].
    #[arg(long)]
    host_cluster_name: Option<String>,
    /// The Secret on the hub that holds the member's credential [default: NAME].
    #[arg(long)]
    secret_name: Option<String>,
    /// The namespace of the credential on the hub, and of the service account in the member.
    #[arg(long, alias = "federation-namespace", default_value = names::CLUSTER_NAMESPACE)]
    cluster_namespace: String,
    /// The cloud that the member runs on [default: what its nodes say].
    #[arg(long, alias = "cluster-provider")]
    provider: Option<String>,
    /// The region that the member runs in [default: what its nodes say].
    #[arg(long, alias = "cluster-region")]
    region: Option<String>,
    /// A zone of the member; may be repeated [default: what its nodes say].
    #[arg(long = "zone", alias = "cluster-zones", value_delimiter = ',')]
    zones: Vec<String>,
    /// Who carries objects into the member.
    #[arg(long, value_enum, default_value_t)]
    mode: Mode,
    /// A type that is propagated besides the usual ones: PLURAL or GROUP/PLURAL; may be repeated.
    #[arg(long = "enable-type", value_delimiter = ',')]
    types: Vec<String>,
    /// How long the first credential lives, seconds; the hub renews it in time.
    #[arg(long, default_value_t = 86_400)]
    credential_seconds: i64,
    /// Fail if the member has joined already under this name.
    #[arg(long, default_value_t = true, action = clap::ArgAction::Set)]
    error_on_existing: bool,
    /// How long to wait for the member to be ready, seconds; 0 does not wait.
    #[arg(long, default_value_t = 30)]
    wait_seconds: u64,
    /// Check everything, say what would be done, and do nothing.
    #[arg(long)]
    dry_run: bool,
    /// Print what the hub may do in the member, and do nothing.
    #[arg(long)]
    print_rbac: bool,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
enum Mode {
    /// The hub reaches into the member.
    #[default]
    Push,
    /// The member's agent reaches out to the hub.
    Pull,
}

/// Runs the command.
pub async fn run(host: &Host, options: Options) -> Result<()> {
    check_name(&options.name)?;
    if options.mode == Mode::Pull {
        return Err(
            Usage("--mode pull: join the member with its agent, not from here".into()).into()
        );
    }
    if options.print_rbac {
        return print_rbac(host, &options);
    }
    let hub = host.hub().await?;
    let context = options.cluster_context.clone().unwrap_or_else(|| options.name.clone());
    let member = host.connect(Some(&context)).await?;
    let id = admit(&options, &hub, &member).await?;
    let mut join = Join { options: &options, hub: &hub.client, member: &member, made: Vec::new() };
    match join.carry_out(&subject(&options, &hub.context), id).await {
        Ok(()) => {}
        Err(error) => {
            join.undo().await;
            return Err(error.context(format!("failed to join {}", options.name)));
        }
    }
    if options.dry_run {
        return Ok(());
    }
    say!("cluster {} joined", options.name);
    wait_until_ready(&hub.client, &options).await
}

/// A name must fit into the names of namespaces.
fn check_name(name: &str) -> Result<()> {
    let plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
    let ends = !name.starts_with('-') && !name.ends_with('-');
    if name.is_empty() || name.len() > 48 || !name.chars().all(plain) || !ends {
        let rule = "lower case letters, digits and '-', at most 48 characters";
        return Err(Usage(format!("{name:?} is no name for a cluster: {rule}")).into());
    }
    Ok(())
}

fn subject(options: &Options, hub_context: &str) -> Subject {
    let hub = options.host_cluster_name.as_deref().unwrap_or(hub_context);
    Subject::new(&options.cluster_namespace, &options.name, hub)
}

fn types(options: &Options) -> Vec<String> {
    let usual = rbac::DEFAULT_TYPES.iter().map(|t| (*t).to_owned());
    usual.chain(options.types.iter().cloned()).collect()
}

fn print_rbac(host: &Host, options: &Options) -> Result<()> {
    let current = host.read().ok().and_then(|k| k.current_context);
    let context = host.host_cluster_context.clone().or(current).unwrap_or_else(|| "hub".into());
    for (_, object) in rbac::objects(&subject(options, &context), &types(options)) {
        put!("---\n{}", serde_saphyr::to_string(&object)?);
    }
    Ok(())
}

/// Finds the member's identity, unless a rule forbids that it joins.
async fn admit(
    options: &Options,
    hub: &context::Cluster,
    member: &context::Cluster,
) -> Result<String> {
    let (hub_id, id) = (hub.id().await?, member.id().await?);
    judge(&options.name, &id, &hub_id, &[], options.error_on_existing)?;
    let clusters: Api<Cluster> = Api::all(hub.client.clone());
    let known = match clusters.list(&ListParams::default()).await {
        Err(Error::Api(status)) if status.code == 404 => {
            bail!("{} is no hub yet: run `fedctl init` first", hub.context)
        }
        other => other.context("failed to list the members")?,
    };
    let known: Vec<(&str, &str)> =
        known.items.iter().map(|c| (c.name(), c.spec.id.as_str())).collect();
    judge(&options.name, &id, &hub_id, &known, options.error_on_existing)?;
    Ok(id)
}

/// The rules: the hub is no member, and no cluster is two.
fn judge(
    name: &str,
    id: &str,
    hub_id: &str,
    known: &[(&str, &str)],
    error_on_existing: bool,
) -> Result<(), Refused> {
    if id == hub_id {
        return Err(Refused(format!("{name} is the hub itself; a hub is never its own member")));
    }
    if let Some((other, _)) = known.iter().find(|(other, known)| *known == id && *other != name) {
        return Err(Refused(format!("this cluster has joined already, as {other}")));
    }
    match known.iter().find(|(other, _)| *other == name) {
        Some((_, known)) if *known != id => {
            Err(Refused(format!("another cluster has joined as {name}")))
        }
        Some(_) if error_on_existing => Err(Refused(format!("{name} has joined already"))),
        _ => Ok(()),
    }
}

/// A join in progress, with what it has made.
struct Join<'a> {
    options: &'a Options,
    hub: &'a Client,
    member: &'a context::Cluster,
    made: Vec<(Client, &'static str, Value)>,
}

impl Join<'_> {
    async fn carry_out(&mut self, subject: &Subject, id: String) -> Result<()> {
        let member = self.member.client.clone();
        for (plural, object) in rbac::objects(subject, &types(self.options)) {
            self.write(&member, plural, object, "member").await?;
        }
        let token = match self.options.dry_run {
            true => String::new(),
            false => self.token(subject).await?,
        };
        let hub = self.hub.clone();
        let namespace = json!({"apiVersion": "v1", "kind": "Namespace",
            "metadata": {"name": self.options.cluster_namespace}});
        self.write(&hub, "namespaces", namespace, "hub").await?;
        self.write(&hub, "secrets", self.secret(&token), "hub").await?;
        let cluster = serde_json::to_value(self.cluster(id).await?)?;
        self.write(&hub, "clusters", cluster, "hub").await
    }

    async fn write(
        &mut self,
        client: &Client,
        plural: &'static str,
        object: Value,
        side: &str,
    ) -> Result<()> {
        let dry_run = self.options.dry_run;
        let done = upsert(client, &object, plural, dry_run).await?;
        let suffix = if dry_run { " (dry run)" } else { "" };
        say!("{side}: {} {done}{suffix}", title(&object, plural));
        if done == Done::Created && !dry_run {
            self.made.push((client.clone(), plural, object));
        }
        Ok(())
    }

    async fn token(&self, subject: &Subject) -> Result<String> {
        let accounts: Api<ServiceAccount> =
            Api::namespaced(self.member.client.clone(), &subject.namespace);
        let request = TokenRequest {
            spec: Some(TokenRequestSpec {
                expiration_seconds: Some(self.options.credential_seconds),
                ..TokenRequestSpec::default()
            }),
            ..TokenRequest::default()
        };
        let params = PostParams::default();
        let answer = accounts.create_token_request(&subject.account, &params, &request).await;
        let answer = answer.context("failed to get a token from the member")?;
        answer.status.and_then(|s| s.token).context("the member answered without a token")
    }

    fn secret_name(&self) -> &str {
        self.options.secret_name.as_deref().unwrap_or(&self.options.name)
    }

    fn secret(&self, token: &str) -> Value {
        let encode = |bytes: &[u8]| base64::engine::general_purpose::STANDARD.encode(bytes);
        let bundle: String =
            self.member.config.root_cert.iter().flatten().map(|der| pem(&encode(der))).collect();
        json!({"apiVersion": "v1", "kind": "Secret", "type": "Opaque",
            "metadata": {"name": self.secret_name(), "namespace": self.options.cluster_namespace},
            "data": {"token": encode(token.as_bytes()), "caBundle": encode(bundle.as_bytes())}})
    }

    async fn cluster(&self, id: String) -> Result<Cluster> {
        let found = Whereabouts::of(&self.member.client).await;
        let zones =
            if self.options.zones.is_empty() { found.zones } else { self.options.zones.clone() };
        let spec = ClusterSpec {
            id,
            sync_mode: SyncMode::Push,
            api_endpoint: self.member.config.cluster_url.to_string().trim_end_matches('/').into(),
            secret_ref: Some(LocalSecretReference {
                namespace: self.options.cluster_namespace.clone(),
                name: self.secret_name().to_owned(),
            }),
            insecure_skip_tls_verification: self.member.config.accept_invalid_certs,
            proxy_url: self
                .member
                .config
                .proxy_url
                .as_ref()
                .map(ToString::to_string)
                .unwrap_or_default(),
            provider: self.options.provider.clone().unwrap_or(found.provider),
            region: self.options.region.clone().unwrap_or(found.region),
            zone: zones.first().cloned().unwrap_or_default(),
            zones,
            ..ClusterSpec::default()
        };
        Ok(Cluster::new(&self.options.name, spec))
    }

    /// Takes away what was made, last first; what cannot be taken away is said.
    async fn undo(&mut self) {
        while let Some((client, plural, object)) = self.made.pop() {
            let name = object["metadata"]["name"].as_str().unwrap_or_default();
            let api = api_of(&client, &object, plural);
            match api.delete(name, &DeleteParams::default()).await {
                Ok(_) => eprintln!("{} deleted again", title(&object, plural)),
                Err(error) => eprintln!("{} is left behind: {error}", title(&object, plural)),
            }
        }
    }
}

fn pem(base64: &str) -> String {
    let lines: Vec<&str> = base64
        .as_bytes()
        .chunks(64)
        .map(|line| std::str::from_utf8(line).expect("base64 is ASCII"))
        .collect();
    format!("-----BEGIN CERTIFICATE-----\n{}\n-----END CERTIFICATE-----\n", lines.join("\n"))
}

/// Where a member's nodes say that they are.
#[derive(Debug, Default, PartialEq, Eq)]
struct Whereabouts {
    provider: String,
    region: String,
    zones: Vec<String>,
}

impl Whereabouts {
    async fn of(member: &Client) -> Self {
        let nodes: Api<Node> = Api::all(member.clone());
        let nodes = nodes.list(&ListParams::default()).await;
        nodes.map(|nodes| Self::from(&nodes.items)).unwrap_or_default()
    }

    fn from(nodes: &[Node]) -> Self {
        let mut found = Self::default();
        for node in nodes {
            let labels = node.metadata.labels.as_ref();
            let label = |key: &str| labels.and_then(|l| l.get(key)).cloned().unwrap_or_default();
            let provider = node.spec.as_ref().and_then(|s| s.provider_id.as_deref());
            let provider = provider.and_then(|p| p.split_once("://")).map_or("", |p| p.0);
            let zone = label("topology.kubernetes.io/zone");
            if found.provider.is_empty() {
                found.provider = provider.into();
            }
            if found.region.is_empty() {
                found.region = label("topology.kubernetes.io/region");
            }
            if !zone.is_empty() && !found.zones.contains(&zone) {
                found.zones.push(zone);
            }
        }
        found.zones.sort();
        found
    }
}

async fn wait_until_ready(hub: &Client, options: &Options) -> Result<()> {
    let clusters: Api<Cluster> = Api::all(hub.clone());
    let wait = Duration::from_secs(options.wait_seconds);
    let ready = tokio::time::timeout(wait, async {
        while !clusters.get(&options.name).await.is_ok_and(|c| c.is_ready()) {
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    });
    if options.wait_seconds == 0 {
        return Ok(());
    }
    match ready.await {
        Ok(()) => say!("cluster {} is ready", options.name),
        Err(_) => eprintln!("cluster {} is not ready yet after {wait:?}", options.name),
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_cluster_is_two_and_the_hub_is_none() {
        let known = [("eu", "id-eu"), ("us", "id-us")];
        let ask = |name, id, strict| judge(name, id, "id-hub", &known, strict);
        assert!(ask("ap", "id-ap", true).is_ok());
        assert!(ask("hub", "id-hub", true).unwrap_err().0.contains("hub itself"));
        assert!(ask("eu-2", "id-eu", true).unwrap_err().0.contains("as eu"));
        assert!(ask("eu", "id-ap", false).unwrap_err().0.contains("another cluster"));
        assert!(ask("eu", "id-eu", true).unwrap_err().0.contains("already"));
        assert!(ask("eu", "id-eu", false).is_ok());
    }

    #[test]
    fn names_fit_into_namespaces() {
        assert!(check_name("eu-west").is_ok());
        for bad in ["", "EU", "-a", "a.b", &"x".repeat(49)] {
            assert!(check_name(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn nodes_say_where_they_are() {
        let node = |zone: &str| -> Node {
            serde_json::from_value(json!({"metadata": {"labels": {
                "topology.kubernetes.io/region": "eu", "topology.kubernetes.io/zone": zone}},
                "spec": {"providerID": "local://eu/1"}}))
            .unwrap()
        };
        let found = Whereabouts::from(&[node("b"), node("a"), node("b")]);
        assert_eq!((found.provider.as_str(), found.region.as_str()), ("local", "eu"));
        assert_eq!(found.zones, ["a", "b"]);
    }
}
