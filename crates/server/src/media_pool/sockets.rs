//! Which sockets each media thread gets, and what it advertises for them.

use super::{MediaPoolConfig, SocketPlan};
use anyhow::{Context, bail};
use media::api::LocalSocket;
use std::collections::HashMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use udp::{Options, Socket};

/// Most sockets of one thread: their index is one byte.
const SOCKETS_MAX: usize = 255;

/// The sockets of one thread with the addresses that stand for them in candidates.
pub(super) type ThreadSockets = (Vec<Socket>, Vec<LocalSocket>);

/// Binds every thread's sockets.
pub(super) fn bind_all(config: &MediaPoolConfig) -> anyhow::Result<Vec<ThreadSockets>> {
    let interfaces = udp::interfaces().context("cannot list network interfaces")?;
    let interfaces: Vec<IpAddr> = interfaces.into_iter().map(|entry| entry.address).collect();
    let addresses = addresses(config, &interfaces);
    anyhow::ensure!(!addresses.is_empty(), "no usable address to bind UDP sockets to");
    anyhow::ensure!(
        addresses.len() <= SOCKETS_MAX,
        "more than {SOCKETS_MAX} addresses to bind"
    );
    let mut ports = Ports::new(config);
    let sockets: anyhow::Result<Vec<ThreadSockets>> = (0..config.threads)
        .map(|thread| {
            let mut sockets = Vec::new();
            let mut advertised = Vec::new();
            for &ip in &addresses {
                let socket = ports.bind(thread, ip)?;
                let ip = advertise(&config.advertise, ip);
                let address = SocketAddr::new(ip, socket.local_address().port());
                advertised.push(LocalSocket { address });
                sockets.push(socket);
            }
            Ok((sockets, advertised))
        })
        .collect();
    let sockets = sockets?;
    let first = sockets.first().and_then(|(sockets, _)| sockets.first());
    warn_of_small_buffer(
        first.and_then(Socket::recv_buffer_bytes),
        config.recv_buffer_bytes,
    );
    Ok(sockets)
}

/// A pause of the machine fills a small buffer, and the kernel drops what comes then.
fn warn_of_small_buffer(granted: Option<usize>, wanted: usize) {
    if let Some(granted) = granted.filter(|granted| *granted < wanted) {
        tracing::warn!(
            granted,
            wanted,
            "UDP receive buffers are small: raise net.core.rmem_max, or give CAP_NET_ADMIN"
        );
    }
}

/// The addresses to bind: unspecified ones replaced by those of the interfaces, unless another
/// address is advertised for the family. Then one socket for all interfaces is right, since the
/// advertised address arrives on whichever of them.
fn addresses(config: &MediaPoolConfig, interfaces: &[IpAddr]) -> Vec<IpAddr> {
    let everywhere = [Ipv4Addr::UNSPECIFIED.into(), Ipv6Addr::UNSPECIFIED.into()];
    let wanted = if config.bind.is_empty() {
        &everywhere[..]
    } else {
        &config.bind[..]
    };
    let mut addresses = Vec::new();
    for &ip in wanted {
        if !ip.is_unspecified()
            || config
                .advertise
                .iter()
                .any(|other| other.is_ipv4() == ip.is_ipv4())
        {
            addresses.push(ip);
            continue;
        }
        let family = interfaces.iter().filter(|other| other.is_ipv4() == ip.is_ipv4());
        addresses.extend(family.filter(|other| config.loopback || !other.is_loopback()));
    }
    let mut seen = std::collections::HashSet::new();
    addresses.retain(|ip| seen.insert(*ip));
    addresses
}

/// What stands in candidates for a socket bound to `ip`.
fn advertise(instead: &[IpAddr], ip: IpAddr) -> IpAddr {
    let same_family = instead.iter().find(|other| other.is_ipv4() == ip.is_ipv4());
    *same_family.unwrap_or(&ip)
}

/// Hands out ports by plan.
struct Ports<'a> {
    config: &'a MediaPoolConfig,
    /// Single port 0: what the kernel chose, per address.
    chosen: HashMap<IpAddr, u16>,
}

impl<'a> Ports<'a> {
    fn new(config: &'a MediaPoolConfig) -> Self {
        Self {
            config,
            chosen: HashMap::new(),
        }
    }

    fn bind(&mut self, thread: usize, ip: IpAddr) -> anyhow::Result<Socket> {
        match &self.config.sockets {
            SocketPlan::Single(port) => {
                let port = *self.chosen.get(&ip).unwrap_or(port);
                let socket = self.bind_shared(thread, ip, port)?;
                self.chosen.insert(ip, socket.local_address().port());
                Ok(socket)
            }
            SocketPlan::Range(range) => {
                anyhow::ensure!(!range.is_empty(), "the UDP port range is empty");
                let count = usize::from(range.end() - range.start()) + 1;
                if count < self.config.threads {
                    // Fewer ports than threads: some threads share one.
                    let offset = u16::try_from(thread % count)?;
                    return self.bind_shared(thread / count, ip, range.start() + offset);
                }
                for port in range.clone() {
                    match Socket::bind(SocketAddr::new(ip, port), self.options(false)) {
                        Ok(socket) => return Ok(socket),
                        Err(error) if error.kind() == std::io::ErrorKind::AddrInUse => {}
                        Err(error) => return Err(error).context(format!("cannot bind UDP {ip} port {port}")),
                    }
                }
                bail!(
                    "no free UDP port on {ip} from {} to {}",
                    range.start(),
                    range.end()
                );
            }
        }
    }

    /// Binds a port that several of our threads share. `rank` 0 is the first to do so, and makes
    /// sure that no other process has it: the kernel would share it with those of the same user.
    fn bind_shared(&self, rank: usize, ip: IpAddr, port: u16) -> anyhow::Result<Socket> {
        let address = SocketAddr::new(ip, port);
        let context = || format!("cannot bind UDP {address}");
        let share = self.config.threads > 1;
        if rank == 0 && share && port != 0 {
            drop(Socket::bind(address, self.options(false)).with_context(context)?);
        }
        Socket::bind(address, self.options(share)).with_context(context)
    }

    const fn options(&self, reuse_port: bool) -> Options {
        Options {
            reuse_port,
            recv_buffer_bytes: self.config.recv_buffer_bytes,
            send_buffer_bytes: self.config.send_buffer_bytes,
            gro: true,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ips(list: &[&str]) -> Vec<IpAddr> {
        list.iter().map(|ip| ip.parse().unwrap()).collect()
    }

    #[test]
    fn an_unspecified_address_stands_for_the_interfaces_of_its_family() {
        let interfaces = ips(&["127.0.0.1", "10.0.0.5", "::1", "2001:db8::1"]);
        let mut config = MediaPoolConfig::default();
        assert_eq!(addresses(&config, &interfaces), ips(&["10.0.0.5", "2001:db8::1"]));
        config.loopback = true;
        config.bind = ips(&["0.0.0.0"]);
        assert_eq!(addresses(&config, &interfaces), ips(&["127.0.0.1", "10.0.0.5"]));
    }

    #[test]
    fn an_advertised_address_replaces_those_of_its_family() {
        let interfaces = ips(&["10.0.0.5", "10.0.0.6", "2001:db8::1"]);
        let config = MediaPoolConfig {
            advertise: ips(&["203.0.113.9"]),
            ..MediaPoolConfig::default()
        };
        assert_eq!(addresses(&config, &interfaces), ips(&["0.0.0.0", "2001:db8::1"]));
        let told = |ip: &str| advertise(&config.advertise, ip.parse().unwrap()).to_string();
        assert_eq!(
            (told("0.0.0.0"), told("2001:db8::1")),
            ("203.0.113.9".into(), "2001:db8::1".into())
        );
    }

    #[test]
    fn each_thread_takes_its_own_port_from_a_range() {
        let config = MediaPoolConfig {
            threads: 3,
            sockets: SocketPlan::Range(49_200..=49_300),
            bind: ips(&["127.0.0.1"]),
            ..MediaPoolConfig::default()
        };
        let threads = bind_all(&config).unwrap();
        let ports: std::collections::HashSet<u16> = threads
            .iter()
            .map(|(_, advertised)| advertised[0].address.port())
            .collect();
        assert_eq!(ports.len(), 3);
        assert!(ports.iter().all(|port| (49_200..=49_300).contains(port)));
    }

    #[test]
    fn threads_share_a_single_port_which_no_other_pool_can_take() {
        let mut config = MediaPoolConfig {
            threads: 2,
            sockets: SocketPlan::Single(0),
            bind: ips(&["127.0.0.1"]),
            ..MediaPoolConfig::default()
        };
        let threads = bind_all(&config).unwrap();
        let port = threads[0].1[0].address.port();
        assert_eq!(threads[1].1[0].address.port(), port);
        config.sockets = SocketPlan::Single(port);
        assert!(bind_all(&config).is_err());
    }
}
