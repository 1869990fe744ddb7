use redis::{
    AsyncConnectionConfig, Client, ConnectionAddr, ConnectionInfo, IntoConnectionInfo, RedisError,
    aio::MultiplexedConnection,
    cluster::{ClusterClient, ClusterClientBuilder},
    cluster_async::ClusterConnection,
    io::tcp::TcpSettings,
    sentinel::{SentinelClient, SentinelClientBuilder, SentinelServerType},
};
use tokio::sync::Mutex;

use super::{Certificates, Failure, Options};

/// Where a URL leads.
pub(super) enum Target {
    Single(Box<Client>),
    Cluster(Box<ClusterClient>),
    /// Locked, because asking the sentinels changes what is known of them.
    Sentinel(Box<Mutex<SentinelClient>>),
}

#[derive(Clone)]
pub(super) enum Connection {
    Single(MultiplexedConnection),
    Cluster(ClusterConnection),
}

impl Target {
    pub(super) fn parse(url: &str, options: &Options) -> Result<Self, Failure> {
        let (scheme, rest) = url.split_once("://").unwrap_or((url, ""));
        if !cfg!(feature = "redis-tls") && (scheme.starts_with("rediss") || scheme == "valkeys") {
            let text = format!("{scheme}:// needs the feature `redis-tls` of tower-inbox");
            return Err(Failure::config(text));
        }
        match scheme {
            "redis-cluster" | "rediss-cluster" => {
                let scheme = scheme.trim_end_matches("-cluster");
                let (hosts, path) = rest.split_once('/').unwrap_or((rest, ""));
                if !path.is_empty() && path != "0" {
                    // What stands behind a slash may be a part of the password.
                    return Err(Failure::config("a cluster has no database but 0".to_owned()));
                }
                Self::cluster(&nodes(scheme, hosts, 6379)?, options)
            }
            "redis-sentinel" | "rediss-sentinel" => {
                let scheme = scheme.trim_end_matches("-sentinel");
                let (hosts, path) = rest.split_once('/').unwrap_or((rest, ""));
                let (master, db) = path.split_once('/').unwrap_or((path, "0"));
                if master.is_empty() {
                    return Err(Failure::config(
                        "redis-sentinel://HOST:PORT,HOST:PORT/MASTER needs the master's name"
                            .to_owned(),
                    ));
                }
                let db = db.parse().map_err(|_| {
                    let text = "what is behind the master's name is not the number of a database";
                    Failure::config(text.to_owned())
                })?;
                Self::sentinel(&nodes(scheme, hosts, 26379)?, master, db, options)
            }
            _ => single(with_settings(parse(url)?), options).map(Box::new).map(Self::Single),
        }
    }

    fn cluster(nodes: &[ConnectionInfo], options: &Options) -> Result<Self, Failure> {
        let builder = ClusterClientBuilder::new(nodes.to_vec())
            // What was not answered may have been done; whoever asks knows whether to ask again.
            .retries(0)
            .connection_timeout(options.connect_timeout)
            .response_timeout(options.response_timeout)
            .tcp_settings(tcp_settings());
        let builder = cluster_certificates(builder, is_secure(&nodes[0]), &options.certificates)?;
        builder.build().map(Box::new).map(Self::Cluster).map_err(Failure::connecting)
    }

    fn sentinel(
        nodes: &[ConnectionInfo],
        master: &str,
        db: i64,
        options: &Options,
    ) -> Result<Self, Failure> {
        let first = &nodes[0];
        // The sentinels themselves are asked without TLS, as they are usually set up.
        let sentinels = nodes.iter().map(|node| match node.addr() {
            ConnectionAddr::TcpTls { host, port, .. } => ConnectionAddr::Tcp(host.clone(), *port),
            addr => addr.clone(),
        });
        let mut builder = SentinelClientBuilder::new(sentinels, master, SentinelServerType::Master)
            .map_err(Failure::connecting)?
            .set_client_to_redis_db(db)
            .set_client_to_redis_tcp_settings(tcp_settings())
            .set_client_to_sentinel_tcp_settings(tcp_settings());
        if let Some(name) = first.redis_settings().username() {
            builder = builder.set_client_to_redis_username(name);
        }
        if let Some(password) = first.redis_settings().password() {
            builder = builder.set_client_to_redis_password(password);
        }
        let builder = sentinel_certificates(builder, is_secure(first), &options.certificates)?;
        let client = builder.build().map_err(Failure::connecting)?;
        Ok(Self::Sentinel(Box::new(Mutex::new(client))))
    }

    pub(super) async fn connect(&self, options: &Options) -> Result<Connection, RedisError> {
        let config = AsyncConnectionConfig::new()
            .set_connection_timeout(Some(options.connect_timeout))
            .set_response_timeout(Some(options.response_timeout));
        match self {
            Self::Single(client) => client
                .get_multiplexed_async_connection_with_config(&config)
                .await
                .map(Connection::Single),
            Self::Cluster(client) => client.get_async_connection().await.map(Connection::Cluster),
            Self::Sentinel(client) => client
                .lock()
                .await
                .get_async_connection_with_config(&config)
                .await
                .map(Connection::Single),
        }
    }

    pub(super) fn is_cluster(&self) -> bool {
        matches!(self, Self::Cluster(_))
    }
}

/// The nodes of `[USER:PASSWORD@]HOST[:PORT],…`, with the same credentials for each.
fn nodes(scheme: &str, hosts: &str, port: u16) -> Result<Vec<ConnectionInfo>, Failure> {
    let (credentials, hosts) = match hosts.rsplit_once('@') {
        Some((credentials, hosts)) => (format!("{credentials}@"), hosts),
        None => (String::new(), hosts),
    };
    hosts
        .split(',')
        .map(|host| {
            let has_port = host.rsplit_once(':').is_some_and(|(_, port)| {
                !port.is_empty() && port.bytes().all(|byte| byte.is_ascii_digit())
            });
            let host = if has_port { host.to_owned() } else { format!("{host}:{port}") };
            parse(&format!("{scheme}://{credentials}{host}")).map(with_settings)
        })
        .collect()
}

fn parse(url: &str) -> Result<ConnectionInfo, Failure> {
    url.into_connection_info().map_err(Failure::connecting)
}

fn with_settings(info: ConnectionInfo) -> ConnectionInfo {
    info.set_tcp_settings(tcp_settings())
}

fn is_secure(info: &ConnectionInfo) -> bool {
    matches!(info.addr(), ConnectionAddr::TcpTls { .. })
}

/// Without TCP_NODELAY, which the crate has off, a connection that many share waits for
/// acknowledgements on a real network (redis-rs issue 2195).
fn tcp_settings() -> TcpSettings {
    TcpSettings::default().set_nodelay(true)
}

#[cfg(not(feature = "redis-tls"))]
fn single(info: ConnectionInfo, options: &Options) -> Result<Client, Failure> {
    no_certificates(&options.certificates)?;
    Client::open(info).map_err(Failure::connecting)
}

#[cfg(not(feature = "redis-tls"))]
fn cluster_certificates(
    builder: ClusterClientBuilder,
    _: bool,
    certificates: &Certificates,
) -> Result<ClusterClientBuilder, Failure> {
    no_certificates(certificates).map(|()| builder)
}

#[cfg(not(feature = "redis-tls"))]
fn sentinel_certificates(
    builder: SentinelClientBuilder,
    _: bool,
    certificates: &Certificates,
) -> Result<SentinelClientBuilder, Failure> {
    no_certificates(certificates).map(|()| builder)
}

#[cfg(not(feature = "redis-tls"))]
fn no_certificates(certificates: &Certificates) -> Result<(), Failure> {
    let Certificates { authority, own } = certificates;
    if authority.is_some() || own.is_some() {
        return Err(Failure::config(
            "certificates need the feature `redis-tls` of tower-inbox".to_owned(),
        ));
    }
    Ok(())
}

#[cfg(feature = "redis-tls")]
use tls::{cluster_certificates, sentinel_certificates, single};

#[cfg(feature = "redis-tls")]
mod tls {
    use std::fs;

    use redis::{ClientTlsConfig, TlsCertificates, TlsMode};

    use super::*;

    pub(super) fn single(info: ConnectionInfo, options: &Options) -> Result<Client, Failure> {
        if !is_secure(&info) {
            return Client::open(info).map_err(Failure::connecting);
        }
        let certificates = read(&options.certificates)?;
        Client::build_with_tls(info, certificates).map_err(Failure::connecting)
    }

    pub(super) fn cluster_certificates(
        builder: ClusterClientBuilder,
        secure: bool,
        certificates: &Certificates,
    ) -> Result<ClusterClientBuilder, Failure> {
        // With certificates the client would speak TLS whatever the URL says.
        if secure { Ok(builder.certs(read(certificates)?)) } else { Ok(builder) }
    }

    pub(super) fn sentinel_certificates(
        builder: SentinelClientBuilder,
        secure: bool,
        certificates: &Certificates,
    ) -> Result<SentinelClientBuilder, Failure> {
        if !secure {
            return Ok(builder);
        }
        Ok(builder
            .set_client_to_redis_tls_mode(TlsMode::Secure)
            .set_client_to_redis_certificates(read(certificates)?))
    }

    fn read(certificates: &Certificates) -> Result<TlsCertificates, Failure> {
        // Whoever has chosen one for the process keeps it.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let file = |path: &std::path::PathBuf| {
            fs::read(path).map_err(|error| {
                Failure::config(format!("could not read {}: {error}", path.display()))
            })
        };
        let Certificates { authority, own } = certificates;
        let client_tls = match own {
            Some((certificate, key)) => {
                Some(ClientTlsConfig { client_cert: file(certificate)?, client_key: file(key)? })
            }
            None => None,
        };
        Ok(TlsCertificates { client_tls, root_cert: authority.as_ref().map(file).transpose()? })
    }
}
