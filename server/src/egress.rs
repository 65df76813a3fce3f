//! Which addresses the service asks that come in by the API: public ones, and what the configuration allows.
//!
//! A URL is looked at when it comes in, and the addresses that its name leads to when a connection is made: a name may
//! lead elsewhere by then. No client here follows redirects.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;

use reqwest::Url;
use reqwest::dns::{Addrs, Name, Resolve, Resolving};

use crate::auth::redact;
use crate::config::service::Egress;

/// Why an address is not asked.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum EgressError {
    /// It is no URL of a server.
    #[error("`{url}` is no URL that begins with http:// or https://")]
    Url {
        /// What was found, without a password.
        url: String,
    },
    /// It is not public. Where exactly a name leads is nobody's business.
    #[error("`{host}` is not a public address, and may be asked only if the configuration's `egress.allow` says so")]
    NotPublic {
        /// The host.
        host: String,
    },
    /// A secret of the service's would go to somebody who is not named.
    #[error(
        "`{host}` would be sent the token of `bearer_token_env`; it may be only if the configuration's `egress.allow` \
         names it"
    )]
    Token {
        /// The host.
        host: String,
    },
}

/// Something that the configuration allows though it is not public.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Allowed {
    /// A host.
    Host(String),
    /// All hosts below a domain: the text begins with a dot.
    Below(String),
    /// A network: an address, and how many of its bits count.
    Network(IpAddr, u8),
}

impl Allowed {
    fn parse(text: &str) -> Result<Self, String> {
        let expected = "expected a host, `*.example.org`, an address or a network such as 10.1.0.0/16";
        let wrong = || format!("egress.allow: `{text}`: {expected}");
        let (address, bits) = text.split_once('/').map_or((text, None), |(address, bits)| (address, Some(bits)));
        if let Ok(address) = address.trim_matches(['[', ']']).parse::<IpAddr>() {
            let most = if address.is_ipv4() { 32 } else { 128 };
            let bits = bits.map_or(Ok(most), str::parse).map_err(|_| wrong())?;
            return if bits <= most { Ok(Self::Network(address, bits)) } else { Err(wrong()) };
        }
        let (name, is_below) = text.strip_prefix("*.").map_or((text, false), |name| (name, true));
        let is_label =
            |label: &str| !label.is_empty() && label.chars().all(|c| c.is_ascii_alphanumeric() || c == '-' || c == '_');
        if bits.is_some() || !name.split('.').all(is_label) {
            return Err(wrong());
        }
        let name = name.to_lowercase();
        Ok(if is_below { Self::Below(format!(".{name}")) } else { Self::Host(name) })
    }

    fn has_name(&self, host: &str) -> bool {
        match self {
            Self::Host(name) => name == host,
            Self::Below(name) => host.ends_with(name.as_str()),
            Self::Network(..) => false,
        }
    }

    fn has_address(&self, address: IpAddr) -> bool {
        match (self, address) {
            (Self::Network(IpAddr::V4(net), bits), IpAddr::V4(address)) => {
                let mask = u32::MAX.checked_shl(32 - u32::from(*bits)).unwrap_or(0);
                net.to_bits() & mask == address.to_bits() & mask
            }
            (Self::Network(IpAddr::V6(net), bits), IpAddr::V6(address)) => {
                let mask = u128::MAX.checked_shl(128 - u32::from(*bits)).unwrap_or(0);
                net.to_bits() & mask == address.to_bits() & mask
            }
            _ => false,
        }
    }
}

/// Looks at where requests would go. Cloning it is cheap.
#[derive(Debug, Clone)]
pub struct Guard(Arc<Rules>);

#[derive(Debug)]
struct Rules {
    allowed: Vec<Allowed>,
    /// Hosts and ports that are asked anyway.
    known: Vec<(String, u16)>,
}

impl Guard {
    /// A guard that lets pass what is public, what `egress` allows, and the servers at `known`.
    ///
    /// # Errors
    /// What of `egress` makes no sense, for people.
    pub fn new<'a>(egress: &Egress, known: impl IntoIterator<Item = &'a str>) -> Result<Self, String> {
        let allowed = egress.allow.iter().map(|text| Allowed::parse(text)).collect::<Result<_, _>>()?;
        let known = known.into_iter().filter_map(|url| Url::parse(url).ok()).filter_map(|url| server(&url)).collect();
        Ok(Self(Arc::new(Rules { allowed, known })))
    }

    /// Whether the service may ask `url`, as far as that can be said without looking up its name.
    ///
    /// # Errors
    /// It may not.
    pub fn check(&self, url: &str) -> Result<(), EgressError> {
        let wrong = || EgressError::Url { url: redact::url(url) };
        let parsed = Url::parse(url).ok().filter(|url| matches!(url.scheme(), "http" | "https")).ok_or_else(wrong)?;
        let (host, port) = server(&parsed).ok_or_else(wrong)?;
        if self.names(&host) || self.0.known.iter().any(|known| *known == (host.clone(), port)) {
            return Ok(());
        }
        let refused = || EgressError::NotPublic { host: host.clone() };
        match literal(&host) {
            Some(address) if self.admits(address) => Ok(()),
            Some(_) => Err(refused()),
            None if host == "localhost" || host.ends_with(".localhost") => Err(refused()),
            // A name with a server's port of ours, but not that server's.
            None if self.0.known.iter().any(|(known, _)| *known == host) => Err(refused()),
            None => Ok(()),
        }
    }

    /// Whether the host of `url` is named by the configuration, so that secrets may go there.
    ///
    /// # Errors
    /// It is not.
    pub fn check_named(&self, url: &str) -> Result<(), EgressError> {
        let host = Url::parse(url).ok().and_then(|url| server(&url)).map(|(host, _)| host).unwrap_or_default();
        let is_address = literal(&host).is_some_and(|found| self.0.allowed.iter().any(|one| one.has_address(found)));
        if self.names(&host) || is_address { Ok(()) } else { Err(EgressError::Token { host }) }
    }

    /// Whether the configuration allows the host whatever its addresses are.
    fn names(&self, host: &str) -> bool {
        self.0.allowed.iter().any(|allowed| allowed.has_name(host))
    }

    fn admits(&self, address: IpAddr) -> bool {
        let address = address.to_canonical();
        is_public(address) || self.0.allowed.iter().any(|allowed| allowed.has_address(address))
    }

    /// The same for where a name leads.
    fn check_addresses(&self, host: &str, addresses: &[SocketAddr]) -> Result<(), EgressError> {
        let host = plain(host);
        let is_known = self.names(&host) || self.0.known.iter().any(|(known, _)| *known == host);
        if is_known || addresses.iter().all(|address| self.admits(address.ip())) {
            return Ok(());
        }
        Err(EgressError::NotPublic { host })
    }
}

impl Resolve for Guard {
    fn resolve(&self, name: Name) -> Resolving {
        let guard = self.clone();
        Box::pin(async move {
            let addresses: Vec<SocketAddr> = tokio::net::lookup_host((name.as_str(), 0)).await?.collect();
            guard.check_addresses(name.as_str(), &addresses)?;
            Ok(Box::new(addresses.into_iter()) as Addrs)
        })
    }
}

/// The host and the port of a URL. All ways to write an address have become one when it was parsed.
pub fn server(url: &Url) -> Option<(String, u16)> {
    Some((plain(url.host_str()?), url.port_or_known_default()?))
}

/// A host's name as it is compared.
fn plain(host: &str) -> String {
    host.trim_end_matches('.').to_lowercase()
}

/// The address that a host is, if it is none with a name.
fn literal(host: &str) -> Option<IpAddr> {
    host.trim_matches(['[', ']']).parse().ok()
}

/// Whether an address is one of the public internet.
fn is_public(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(address) => is_public_v4(address),
        IpAddr::V6(address) => is_public_v6(address),
    }
}

/// The blocks that IANA has set apart, among them those of clouds' metadata (169.254.0.0/16) and of carriers.
fn is_public_v4(address: Ipv4Addr) -> bool {
    let [a, b, c, _] = address.octets();
    !(matches!(a, 0 | 10 | 127 | 224..=255)
        || matches!((a, b), (100, 64..=127) | (169, 254) | (172, 16..=31) | (192, 168) | (198, 18 | 19))
        || matches!((a, b, c), (192, 0, 0 | 2) | (192, 88, 99) | (192, 31, 196) | (192, 52, 193))
        || matches!((a, b, c), (192, 175, 48) | (198, 51, 100) | (203, 0, 113)))
}

/// What is allotted (2000::/3), without what leads to addresses of version 4 or to documentation. That leaves out
/// loopback, link-local, unique local, multicast, mapped and translated (64:ff9b::/96) ones.
fn is_public_v6(address: Ipv6Addr) -> bool {
    let [a, b, ..] = address.segments();
    (a & 0xe000) == 0x2000
        && !(a == 0x2002 || (a == 0x2001 && b < 0x0200) || (a, b) == (0x2001, 0x0db8) || (a == 0x3fff && b < 0x1000))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn guard(allow: &[&str]) -> Guard {
        let egress = Egress { allow: allow.iter().map(ToString::to_string).collect() };
        Guard::new(&egress, ["http://vm.internal:8428", "http://127.0.0.1:9090/prometheus"]).unwrap()
    }

    #[track_caller]
    fn check(allow: &[&str], url: &str, expected: bool) {
        let found = guard(allow).check(url);
        assert_eq!(found.is_ok(), expected, "{url}: {found:?}");
    }

    #[test]
    fn public_addresses_and_those_of_datasources_are_asked() {
        for good in [
            "http://example.org",
            "https://example.org:8443/x?y",
            "http://93.184.216.34/",
            "http://[2606:2800:220:1:248:1893:25c8:1946]/",
            "http://me:s3cret@example.org",
            "http://vm.internal:8428/select",
            "http://VM.internal.:8428",
            "http://127.0.0.1:9090",
        ] {
            check(&[], good, true);
        }
    }

    #[test]
    fn all_others_are_not_however_they_are_written() {
        for bad in [
            "http://127.0.0.1",
            "http://127.0.0.1:9091",
            "http://127.1",
            "http://2130706433",
            "http://0x7f.1",
            "http://0177.0.0.1",
            "http://0x7f000001:9091",
            "http://0",
            "http://0.0.0.0",
            "http://１２７.0.0.1:1",
            "http://localhost",
            "http://LOCALHOST.:8428",
            "http://a.localhost",
            "http://vm.internal:22",
            "http://10.1.2.3",
            "http://172.16.0.1",
            "http://172.31.255.255",
            "http://192.168.0.1",
            "http://169.254.169.254/latest/meta-data",
            "http://100.64.0.1",
            "http://100.100.100.200",
            "http://192.0.0.192",
            "http://198.18.0.1",
            "http://224.0.0.1",
            "http://240.0.0.1",
            "http://255.255.255.255",
            "http://[::]",
            "http://[::1]",
            "http://[::ffff:127.0.0.1]",
            "http://[::ffff:a9fe:a9fe]",
            "http://[::127.0.0.1]",
            "http://[64:ff9b::7f00:1]",
            "http://[64:ff9b:1::1]",
            "http://[fe80::1]",
            "http://[fc00::1]",
            "http://[fd00:ec2::254]",
            "http://[ff02::1]",
            "http://[2001:db8::1]",
            "http://[2002:7f00:1::]",
            "http://[2001::1]",
        ] {
            check(&[], bad, false);
        }
    }

    #[test]
    fn what_is_no_url_of_a_server_is_refused_without_its_secrets() {
        for bad in [
            "",
            "example.org",
            "file:///etc/passwd",
            "ftp://me:s3cret@example.org",
            "http://",
            "//s3cret@x",
            "gopher://x",
        ] {
            let error = guard(&[]).check(bad).unwrap_err().to_string();
            assert!(error.contains("http:// or https://") && !error.contains("s3cret"), "{error}");
        }
    }

    #[test]
    fn what_is_allowed_is_asked() {
        check(&["10.1.0.0/16"], "http://10.1.255.1", true);
        check(&["10.1.0.0/16"], "http://[::ffff:10.1.2.3]", true);
        check(&["10.1.0.0/16"], "http://10.2.0.1", false);
        check(&["0.0.0.0/0"], "http://127.0.0.1", true);
        check(&["fd00::/8"], "http://[fd12::1]", true);
        check(&["fd00::/8"], "http://[fc12::1]", false);
        check(&["127.0.0.1"], "http://127.0.0.1:1", true);
        check(&["127.0.0.1"], "http://127.0.0.2:1", false);
        check(&["localhost"], "http://LocalHost:1", true);
        check(&["*.corp.example"], "http://a.b.corp.example", true);
        for wrong in ["", "*", "*.", "a..b", "10.0.0.0/33", "10.0.0.0/x", "a/8", "http://a", "a b", "a:80"] {
            let egress = Egress { allow: vec![wrong.into()] };
            assert!(Guard::new(&egress, []).unwrap_err().contains("egress.allow"), "{wrong}");
        }
    }

    #[test]
    fn names_are_looked_at_again_by_where_they_lead() {
        let check = |allow: &[&str], host: &str, addresses: &[&str], expected: bool| {
            let addresses: Vec<SocketAddr> =
                addresses.iter().map(|text| SocketAddr::new(text.parse().unwrap(), 0)).collect();
            assert_eq!(guard(allow).check_addresses(host, &addresses).is_ok(), expected, "{host} {addresses:?}");
        };
        check(&[], "example.org", &["93.184.216.34"], true);
        check(&[], "rebind.example", &["127.0.0.1"], false);
        check(&[], "rebind.example", &["93.184.216.34", "10.0.0.1"], false);
        check(&[], "rebind.example", &["::ffff:169.254.169.254"], false);
        check(&[], "vm.internal", &["10.0.0.1"], true);
        check(&["10.0.0.0/8"], "models.internal", &["10.0.0.1"], true);
        check(&["models.internal"], "Models.Internal.", &["10.0.0.1"], true);
        check(&["*.internal"], "internal", &["10.0.0.1"], false);
    }

    #[tokio::test]
    async fn a_client_does_not_connect_to_a_name_that_leads_here() {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://localhost:{}", listener.local_addr().unwrap().port());
        let _ = rustls::crypto::ring::default_provider().install_default();
        let client =
            |guard: Guard| reqwest::Client::builder().no_proxy().dns_resolver(Arc::new(guard)).build().unwrap();
        let error = client(guard(&[])).get(&url).send().await.unwrap_err();
        let cause = format!("{error:?}");
        assert!(error.is_connect() && cause.contains("NotPublic"), "{cause}");
        let (asked, accepted) = tokio::join!(
            tokio::time::timeout(std::time::Duration::from_secs(5), client(guard(&["localhost"])).get(&url).send()),
            async { listener.accept().await.map(drop) }
        );
        accepted.unwrap();
        assert!(asked.is_ok(), "it was asked, and hung up");
    }

    #[test]
    fn secrets_go_to_named_hosts_only() {
        let guard = guard(&["models.internal", "10.0.0.0/8"]);
        for (url, expected) in [
            ("http://models.internal/x", true),
            ("http://10.1.1.1", true),
            ("http://example.org", false),
            ("http://93.184.216.34", false),
            ("", false),
        ] {
            assert_eq!(guard.check_named(url).is_ok(), expected, "{url}");
        }
    }
}
