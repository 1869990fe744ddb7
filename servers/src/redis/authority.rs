use std::{
    fs, io,
    path::{Path, PathBuf},
    sync::LazyLock,
};

use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DnType, ExtendedKeyUsagePurpose, IsCa,
    KeyPair, KeyUsagePurpose,
};

use super::config::Config;

/// The files by which a server is known, and by which it knows others.
#[derive(Debug)]
pub(super) struct Identity {
    ca: PathBuf,
    certificate: PathBuf,
    key: PathBuf,
}

impl Identity {
    /// Writes the files for one server of this machine into its directory.
    pub(super) fn create_in(directory: &Path) -> io::Result<Self> {
        let key = KeyPair::generate().map_err(io::Error::other)?;
        let certificate = server_params()?.signed_by(&key, &AUTHORITY).map_err(io::Error::other)?;
        let identity = Self {
            ca: directory.join("ca.pem"),
            certificate: directory.join("server.pem"),
            key: directory.join("server.key"),
        };
        fs::write(&identity.ca, AUTHORITY.pem())?;
        fs::write(&identity.certificate, certificate.pem())?;
        fs::write(&identity.key, key.serialize_pem())?;
        Ok(identity)
    }

    /// The certificate of the authority, in PEM.
    pub(super) fn ca(&self) -> &Path {
        &self.ca
    }

    /// Makes a server show itself by the files, and ask no client for a certificate; and lets it
    /// come to other servers through TLS.
    pub(super) fn configure(&self, config: &mut Config) {
        config.set("tls-ca-cert-file", &[&self.ca.to_string_lossy()]);
        config.set("tls-cert-file", &[&self.certificate.to_string_lossy()]);
        config.set("tls-key-file", &[&self.key.to_string_lossy()]);
        config.set("tls-auth-clients", &["no"]);
        config.set("tls-replication", &["yes"]);
    }
}

// One for all servers of this process, so that a replica trusts its master and a client needs to
// know one only.
static AUTHORITY: LazyLock<CertifiedIssuer<'static, KeyPair>> = LazyLock::new(|| {
    let mut params = CertificateParams::default();
    params.distinguished_name.push(DnType::CommonName, "tower-inbox test authority");
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign];
    let key = KeyPair::generate().expect("the system has randomness");
    CertifiedIssuer::self_signed(params, key).expect("the key was made to sign")
});

fn server_params() -> io::Result<CertificateParams> {
    let names = ["localhost".to_owned(), "127.0.0.1".to_owned()];
    let mut params = CertificateParams::new(names).map_err(io::Error::other)?;
    params.distinguished_name.push(DnType::CommonName, "tower-inbox test server");
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    // A replica shows the same certificate to its master.
    params.extended_key_usages =
        vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
    params.use_authority_key_identifier_extension = true;
    Ok(params)
}
