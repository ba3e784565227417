//! The rival: step-ca as its own `step ca init` sets it up, asked for one certificate with one token at a time.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::{env, fs};

use anyhow::{Context, Result, ensure};
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair as _};
use base64ct::{Base64UrlUnpadded, Encoding as _};
use rcgen::{CertificateParams, DnType, KeyPair};
use serde_json::{Value, json};
use time::OffsetDateTime;

use super::applicant::{Applicant, Manners};
use super::http;
use crate::client::{Client, stranger};
use crate::processes::Running;
use crate::server::{free_address, installed, wait_for};
use crate::world::World;

/// Who vouches for the tokens: the name and the key's name in `ca.json`.
const PROVISIONER: &str = "bench";

const MANNERS: Manners =
    Manners { is_whole: http::is_whole, certificate: b"-----BEGIN CERTIFICATE-----" };

/// Its two programs.
pub(crate) struct StepCa {
    ca: PathBuf,
    cli: PathBuf,
}

/// It runs.
pub(crate) struct Served {
    pub(crate) server: Running,
    address: SocketAddr,
    roots: PathBuf,
    provisioner: Arc<EcdsaKeyPair>,
}

impl StepCa {
    /// Where it is, if it is: `$STEP_CA` with `step` beside it, or both on the `$PATH`.
    pub(crate) fn installed() -> Option<Self> {
        match env::var_os("STEP_CA").map(PathBuf::from) {
            Some(ca) => Some(Self { cli: ca.with_file_name("step"), ca }),
            None => Some(Self { ca: installed("step-ca")?, cli: installed("step")? }),
        }
    }

    pub(crate) fn version(&self) -> String {
        let output = Command::new(&self.ca).arg("version").output();
        let text = output.map(|output| String::from_utf8_lossy(&output.stdout).into_owned());
        text.unwrap_or_default().lines().next().unwrap_or("step-ca").to_owned()
    }

    /// Sets it up and starts it on the servers' core.
    pub(crate) fn serve(&self, world: &World) -> Result<Served> {
        let (folder, address) = (world.path("step"), free_address()?);
        let password = world.path("step-password");
        write(&password, "bench")?;
        self.init(&folder, &password, address)?;
        let provisioner = EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING)?;
        let configuration = folder.join("config/ca.json");
        accept(&configuration, &provisioner)?;
        let mut command = Command::new(&self.ca);
        command.arg(configuration).arg("--password-file").arg(password).env("STEPPATH", &folder);
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        let server = world.cores.start_server(&mut command)?;
        wait_for(address)?;
        let roots = folder.join("certs/root_ca.crt");
        Ok(Served { server, address, roots, provisioner: Arc::new(provisioner) })
    }

    fn init(&self, folder: &Path, password: &Path, address: SocketAddr) -> Result<()> {
        let mut command = Command::new(&self.cli);
        command.args(["ca", "init", "--deployment-type", "standalone", "--name", "Bench"]);
        command.args(["--dns", "localhost", "--address", &address.to_string()]);
        command.args(["--provisioner", PROVISIONER]).arg("--password-file").arg(password);
        command.env("STEPPATH", folder);
        let output = command.stdin(Stdio::null()).output().context("step does not start")?;
        let said = String::from_utf8_lossy(&output.stderr);
        ensure!(output.status.success(), "step ca init failed: {said}");
        Ok(())
    }
}

/// Puts our key in the place of the provisioner's, whose private half only `step` can decrypt.
fn accept(configuration: &Path, provisioner: &EcdsaKeyPair) -> Result<()> {
    let mut settings: Value = serde_json::from_str(&fs::read_to_string(configuration)?)?;
    // SEC 1 §2.3.3: an uncompressed point is 4, then x and y.
    let point = provisioner.public_key().as_ref().get(1..).unwrap_or_default();
    let (x, y) = point.split_at_checked(32).context("a point of P-256 has two times 32 octets")?;
    let key = json!({
        "use": "sig", "kty": "EC", "crv": "P-256", "alg": "ES256", "kid": PROVISIONER,
        "x": Base64UrlUnpadded::encode_string(x), "y": Base64UrlUnpadded::encode_string(y),
    });
    let known = settings.pointer_mut("/authority/provisioners/0").context("no provisioner")?;
    *known = json!({ "type": "JWK", "name": PROVISIONER, "key": key });
    write(configuration, &settings.to_string())
}

fn write(path: &Path, text: &str) -> Result<()> {
    #[expect(clippy::disallowed_methods, reason = "a file that lives as long as this run")]
    Ok(fs::write(path, text)?)
}

impl Served {
    /// So many connections, each kept open.
    pub(crate) fn crowd(&self, clients: u32) -> Result<Vec<Applicant>> {
        let config = stranger(&self.roots)?;
        let address = self.address;
        let one = |nth| {
            let config = Arc::clone(&config);
            // It ends what is idle for 15 seconds, and others have their turns in between.
            let again = move || Client::connect(address, &config);
            let name = format!("agent-{clients}-{nth}.bench.example");
            let next = requests(name, Arc::clone(&self.provisioner))?;
            Ok(Applicant::connecting(again, u32::MAX, MANNERS, next))
        };
        (0..clients).map(one).collect()
    }
}

/// `POST /1.0/sign`, each with a token that can be used once.
fn requests(
    name: String,
    provisioner: Arc<EcdsaKeyPair>,
) -> Result<impl FnMut() -> Result<Vec<u8>>> {
    let mut params = CertificateParams::new([name.clone()])?;
    params.distinguished_name.push(DnType::CommonName, name.as_str());
    let request = params.serialize_request(&KeyPair::generate()?)?.pem()?;
    let mut tokens = 0_u32;
    Ok(move || {
        tokens += 1;
        let token = token(&name, &format!("{name}-{tokens}"), &provisioner)?;
        let body = json!({ "csr": request, "ott": token }).to_string();
        Ok(http::post("/1.0/sign", "application/json", "", &body))
    })
}

/// A JSON Web Token (RFC 7519) as `step ca token` makes it.
fn token(name: &str, id: &str, provisioner: &EcdsaKeyPair) -> Result<String> {
    let now = OffsetDateTime::now_utc().unix_timestamp();
    let head = json!({ "alg": "ES256", "kid": PROVISIONER, "typ": "JWT" });
    let claims = json!({
        "iss": PROVISIONER, "aud": "https://localhost/1.0/sign", "sub": name, "sans": [name],
        "iat": now, "nbf": now - 60, "exp": now + 300, "jti": id,
    });
    let part = |value: &Value| Base64UrlUnpadded::encode_string(value.to_string().as_bytes());
    let signed = [part(&head), part(&claims)].join(".");
    let signature = provisioner.sign(&SystemRandom::new(), signed.as_bytes())?;
    Ok([signed, Base64UrlUnpadded::encode_string(signature.as_ref())].join("."))
}
