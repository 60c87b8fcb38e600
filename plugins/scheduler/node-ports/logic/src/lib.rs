//! NodePorts: a host port of a node is given to one pod only.

use hansa_plugin_sdk::Settings;
use hansa_plugin_sdk::scheduler::{
    HostPort, Interests, NOTHING, Nodes, PodView, Policy, Reason, lacks,
};

/// The predicate.
pub struct NodePorts;

impl Policy for NodePorts {
    const NAME: &'static str = "NodePorts";
    const INTERESTS: Interests = Interests { filter: true, ports: true, ..NOTHING };

    fn configure(settings: &Settings) -> Result<Self, String> {
        settings.none().map(|()| Self)
    }

    fn filter<'a>(&'a self, nodes: &'a Nodes, pod: &'a PodView) -> impl Fn(usize) -> bool + 'a {
        let wanted = &pod.host_ports;
        move |ix| wanted.is_empty() || free(wanted, nodes.ports(ix))
    }

    fn reason(&self, _nodes: &Nodes, _pod: &PodView, _ix: usize) -> Reason {
        let text = "node(s) didn't have free ports for the requested pod ports";
        lacks(vec![text.into()])
    }
}

fn free(wanted: &[HostPort], held: &[(HostPort, u32)]) -> bool {
    !wanted.iter().any(|want| held.iter().any(|(have, _)| conflict(want, have)))
}

/// Same protocol and port, and the same address or one of them every address.
fn conflict(a: &HostPort, b: &HostPort) -> bool {
    let same_address = a.ip == b.ip || a.ip == 0 || b.ip == 0;
    a.protocol == b.protocol && a.port == b.port && same_address
}

#[cfg(test)]
mod tests {
    use super::*;
    use hansa_extension::scheduler::{HostPort, Protocol};
    use hansa_scheduler_lab::{Lab, Node};

    #[test]
    fn ports_conflict_by_protocol_number_and_address() {
        let mut lab = Lab::new(&[
            Node { name: "all", ports: &[("", Protocol::Tcp, 80)], ..Node::default() },
            Node { name: "one", ports: &[("10.0.0.1", Protocol::Tcp, 80)], ..Node::default() },
            Node { name: "udp", ports: &[("", Protocol::Udp, 80)], ..Node::default() },
        ]);
        let mut pod = lab.pod(&[]);
        assert_eq!(lab.passing::<NodePorts>(&pod).len(), 3);
        pod.host_ports = vec![Lab::port(Protocol::Tcp, 80)];
        assert_eq!(lab.passing::<NodePorts>(&pod), ["udp"]);
        let ip = lab.sym("10.0.0.2");
        pod.host_ports = vec![HostPort { ip, protocol: Protocol::Tcp, port: 80 }];
        assert_eq!(lab.passing::<NodePorts>(&pod), ["one", "udp"]);
        let reason = lab.reasons::<NodePorts>(&pod).remove("all").flatten();
        assert!(reason.is_some_and(|reason| reason.preemptible));
    }
}
