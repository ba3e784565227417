//! How each is told what to do.

use std::fmt::Write as _;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Result, ensure};
use rustix::process::getuid;

use super::joined;
use crate::world::{World, write};

/// What it is to do.
pub(crate) struct Settings<'a> {
    pub(crate) world: &'a World,
    /// Its own, for its files.
    pub(crate) folder: &'a Path,
    pub(crate) list: Option<PathBuf>,
    /// Where it listens.
    pub(crate) address: SocketAddr,
    /// To where it forwards.
    pub(crate) target: SocketAddr,
}

impl Settings<'_> {
    pub(super) fn file(&self, name: &str, text: &str) -> Result<PathBuf> {
        let path = self.folder.join(name);
        write(&path, text)?;
        Ok(path)
    }

    fn certificate(&self) -> PathBuf {
        self.world.path("gateway/certificate.pem")
    }

    fn key(&self) -> PathBuf {
        self.world.path("gateway/key.pem")
    }

    fn roots(&self) -> PathBuf {
        self.world.path("gateway/roots.pem")
    }
}

/// Certificate and key in one file, as several want it.
const PAIR: [&str; 2] = ["gateway/certificate.pem", "gateway/key.pem"];

/// Where Debian has what it leaves out of nginx itself.
const NGINX_STREAM: &str = "/usr/lib/nginx/modules/ngx_stream_module.so";

pub(super) fn nginx(command: &mut Command, settings: &Settings<'_>) -> Result<()> {
    let Settings { folder, address, target, list, .. } = settings;
    let [certificate, key, roots] = [settings.certificate(), settings.key(), settings.roots()];
    let [certificate, key, roots] = [&certificate, &key, &roots].map(|path| path.display());
    let list = list.as_ref().map(|list| format!("ssl_crl {};", list.display()));
    let module = Path::new(NGINX_STREAM).exists().then(|| format!("load_module {NGINX_STREAM};"));
    let text = format!(
        "{module}\ndaemon off; master_process off; pid {pid}; error_log stderr error;\n\
         events {{ worker_connections 18000; }}\n\
         stream {{ access_log off; server {{ listen {address} ssl backlog=4096; proxy_pass {target}; tcp_nodelay on;\n\
         ssl_certificate {certificate}; ssl_certificate_key {key};\n\
         ssl_client_certificate {roots}; ssl_verify_client on; ssl_verify_depth 2; {list}\n\
         ssl_protocols TLSv1.3; ssl_ecdh_curve X25519; ssl_session_cache off; ssl_session_tickets off; }} }}\n",
        module = module.unwrap_or_default(),
        pid = folder.join("pid").display(),
        list = list.unwrap_or_default(),
    );
    let file = settings.file("nginx.conf", &text)?;
    command.arg("-p").arg(folder).arg("-c").arg(file);
    Ok(())
}

pub(super) fn haproxy(command: &mut Command, settings: &Settings<'_>) -> Result<()> {
    let Settings { address, target, list, .. } = settings;
    let pair = joined(settings, "pair.pem", &PAIR)?;
    let list = list.as_ref().map(|list| format!("crl-file {}", list.display()));
    let text = format!(
        "global\n nbthread 1\n tune.ssl.cachesize 0\n maxconn 8000\n\
         defaults\n mode tcp\n timeout connect 10s\n timeout client 1h\n timeout server 1h\n\
         frontend mcp\n bind {address} ssl crt {} ca-file {} verify required {} ssl-min-ver TLSv1.3 no-tls-tickets curves X25519 backlog 4096\n \
         default_backend mcp\nbackend mcp\n server mcp {target}\n",
        pair.display(),
        settings.roots().display(),
        list.unwrap_or_default(),
    );
    let file = settings.file("haproxy.cfg", &text)?;
    command.arg("-db").arg("-f").arg(file);
    Ok(())
}

pub(super) fn hitch(command: &mut Command, settings: &Settings<'_>) -> Result<()> {
    let Settings { address, target, list, .. } = settings;
    ensure!(list.is_none(), "hitch knows no revocation lists");
    let pair = joined(settings, "pair.pem", &PAIR)?;
    // It refuses to work as root.
    let user = if getuid().is_root() { "user = \"nobody\"\n" } else { "" };
    let text = format!(
        "{user}frontend = \"[{}]:{}\"\nbackend = \"[{}]:{}\"\npem-file = \"{}\"\ntls-protos = TLSv1.3\n\
         ecdh-curve = \"X25519\"\nworkers = 1\nbacklog = 4096\nclient-verify = required\nclient-verify-ca = \"{}\"\n\
         daemon = off\nquiet = on\n",
        address.ip(),
        address.port(),
        target.ip(),
        target.port(),
        pair.display(),
        settings.roots().display(),
    );
    let file = settings.file("hitch.conf", &text)?;
    command.arg("--config").arg(file);
    Ok(())
}

pub(super) fn stunnel(command: &mut Command, settings: &Settings<'_>) -> Result<()> {
    let text = format!("{}connect = {}\n", stunnel_service(settings)?, settings.target);
    command.arg(settings.file("stunnel.conf", &text)?);
    Ok(())
}

/// The same for a process of its own for each session, which is started by itself with these words.
pub(crate) fn stunnel_exec(
    command: &mut Command,
    settings: &Settings<'_>,
    program: &Path,
    words: &str,
) -> Result<()> {
    let service = stunnel_service(settings)?;
    let text = format!("{service}exec = {}\nexecArgs = {words}\n", program.display());
    command.arg(settings.file("stunnel.conf", &text)?);
    Ok(())
}

/// All but what it forwards to.
fn stunnel_service(settings: &Settings<'_>) -> Result<String> {
    let mut text = String::from(
        "foreground = yes\npid =\ndebug = err\nsocket = l:TCP_NODELAY=1\nsocket = r:TCP_NODELAY=1\n[mcp]\n\
         sslVersion = TLSv1.3\ncurves = X25519\noptions = NO_TICKET\nsessionResume = no\nverifyChain = yes\n",
    );
    let [certificate, key, roots] = [settings.certificate(), settings.key(), settings.roots()];
    let list = settings.list.as_ref().map(|list| ("CRLfile", list));
    let files = [("cert", &certificate), ("key", &key), ("CAfile", &roots)];
    for (name, path) in files.into_iter().chain(list) {
        writeln!(text, "{name} = {}", path.display())?;
    }
    writeln!(text, "accept = {}", settings.address)?;
    Ok(text)
}

pub(super) fn ghostunnel(command: &mut Command, settings: &Settings<'_>) -> Result<()> {
    let Settings { address, target, list, .. } = settings;
    ensure!(list.is_none(), "ghostunnel knows no revocation lists");
    command.env("GOMAXPROCS", "1");
    command.args(["server", "--allow-all", "--quiet", "conns", "--quiet", "handshake-errs"]);
    command.args(["--listen", &address.to_string(), "--target", &target.to_string()]);
    command.arg("--cert").arg(settings.certificate()).arg("--key").arg(settings.key());
    command.arg("--cacert").arg(settings.roots());
    Ok(())
}
