//! What the certificates of servers outside of our CA must lead to.

use std::fmt::Display;
use std::path::Path;

use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject;

use crate::exit::Failure;
use crate::notice::say;

/// The roots in a file, or those of the system; `option` is what names the file.
pub(crate) fn read(
    file: Option<&Path>,
    option: &str,
) -> Result<Vec<CertificateDer<'static>>, Failure> {
    match file {
        Some(file) => in_file(file),
        None => of_the_system(option),
    }
}

fn in_file(file: &Path) -> Result<Vec<CertificateDer<'static>>, Failure> {
    let failed = |why: &dyn Display| {
        Failure::new(format!("cannot read roots from {}: {why}", file.display()))
    };
    let pem = std::fs::read(file).map_err(|error| failed(&error))?;
    let roots = CertificateDer::pem_slice_iter(&pem).collect::<Result<Vec<_>, _>>();
    let roots = roots.map_err(|error| failed(&error))?;
    if roots.is_empty() { Err(failed(&"there is no certificate in it")) } else { Ok(roots) }
}

/// A few that cannot be read do no harm where there are others.
fn of_the_system(option: &str) -> Result<Vec<CertificateDer<'static>>, Failure> {
    let found = rustls_native_certs::load_native_certs();
    if found.certs.is_empty() {
        return Err(Failure::new("this system has no root certificates to judge a server by")
            .hint(format!("install its package of CA certificates, or say {option} FILE")));
    }
    for error in found.errors {
        say(&format!("note: some roots of the system are left out: {error}"));
    }
    Ok(found.certs)
}
