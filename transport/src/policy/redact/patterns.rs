//! What keys and tokens look like. A pattern stands here where the kind of secret has a mark of its own,
//! so that hardly anything else is taken for it: passwords in running text, and keys that are mere
//! random letters, have none.
//!
//! Those with a fixed beginning stand together, for the engine then looks for all their beginnings in one
//! pass; `(?-u:\b)` is an ASCII boundary, which keeps it on its fast path in texts of any language.

/// Each is compiled once.
pub(super) const PATTERNS: [&str; 3] = [MARKED, IN_URL, LABELLED];

const MARKED: &str = concat!(
    // RFC 7468 §10-11, OpenSSH's and PGP's private keys; also one whose end was cut off. No line of five
    // dashes stands within a key: looking for the end beyond one, from every beginning anew, would
    // take time by the square of the text's length.
    r"-----BEGIN [A-Z0-9 ]{0,40}PRIVATE KEY(?: BLOCK)?-----",
    r"(?:(?:[^-]|-{1,4}[^-])*-----END [A-Z0-9 ]{0,40}PRIVATE KEY(?: BLOCK)?-----",
    r"|[A-Za-z0-9+/=\s\\]{40,})",
    // JSON Web Tokens and encrypted ones (RFC 7519, 7516): `eyJ` is `{"` in base64url. One without a
    // signature is not a credential.
    r"|(?-u:\b)eyJ[A-Za-z0-9_-]{8,}\.[A-Za-z0-9_-]{8,}(?:\.[A-Za-z0-9_-]{8,}){1,3}",
    // RFC 6750 §2.1; twenty characters, for `bearer of good news` is none.
    r"|(?-u:\b)(?:Bearer|bearer|BEARER)[ \t]+[A-Za-z0-9._~+/-]{20,}=*",
    // RFC 7617: a password.
    r"|(?-u:\b)(?:Authorization|authorization): ?[Bb]asic [A-Za-z0-9+/]{8,}={0,2}",
    // AWS access key ids, long-lived and temporary. The id is no secret, and marks what is.
    r"|(?-u:\b)(?:AKIA|ASIA|ABIA|ACCA)[A-Z2-7]{16}(?-u:\b)",
    // GitHub: personal, OAuth, user-to-server, server-to-server, refresh; fine-grained.
    r"|(?-u:\b)gh[pousr]_[A-Za-z0-9]{36,255}",
    r"|(?-u:\b)github_pat_[A-Za-z0-9_]{22,255}",
    // GitLab: personal, deploy, runner, CI job, trigger, feed, mail, agent, OAuth, SCIM.
    r"|(?-u:\b)gl(?:pat|dt|rt|rtr|cbt|ptt|ft|imt|agent|oas|soat)-[A-Za-z0-9_.-]{20,}",
    // Slack: tokens of bots, users, apps, refresh and sessions; incoming webhooks, whose URL is the key.
    r"|(?-u:\b)xox[abceoprs]-[A-Za-z0-9-]{10,}",
    r"|(?-u:\b)xapp-[0-9]-[A-Za-z0-9-]{10,}",
    r"|https://hooks\.slack\.com/(?:services|workflows|triggers)/[A-Za-z0-9/_-]{20,}",
    // Anthropic.
    r"|(?-u:\b)sk-ant-[A-Za-z0-9_-]{20,}",
    // OpenAI: of projects, service accounts, administrators; the older ones by their length.
    r"|(?-u:\b)sk-(?:proj|svcacct|admin)-[A-Za-z0-9_-]{20,}",
    r"|(?-u:\b)sk-[A-Za-z0-9]{48}(?-u:\b)",
    // Google: API keys, OAuth access tokens, OAuth client secrets.
    r"|(?-u:\b)AIza[A-Za-z0-9_-]{35}",
    r"|(?-u:\b)ya29\.[A-Za-z0-9_-]{20,}",
    r"|(?-u:\b)GOCSPX-[A-Za-z0-9_-]{28}",
    // Stripe: secret and restricted keys, and those of webhooks.
    r"|(?-u:\b)(?:sk|rk)_(?:live|test)_[A-Za-z0-9]{16,}",
    r"|(?-u:\b)whsec_[A-Za-z0-9+/]{32,}",
    // Registries of packages and models.
    r"|(?-u:\b)npm_[A-Za-z0-9]{36}(?-u:\b)",
    r"|(?-u:\b)pypi-AgE[A-Za-z0-9_-]{50,}",
    r"|(?-u:\b)hf_[A-Za-z0-9]{34}(?-u:\b)",
    // SendGrid.
    r"|(?-u:\b)SG\.[A-Za-z0-9_-]{22}\.[A-Za-z0-9_-]{43}",
    // Our own invitations.
    r"|(?-u:\b)vouchsafe-invitation-[0-9]\.[A-Za-z0-9_-]{20,}",
);

/// A password in a URL (RFC 3986 §3.2.1), as in connection strings. It goes with its user's name.
const IN_URL: &str = r#"://[^\s/:@"'<>]{0,128}:[^\s/@"'<>]{3,256}@"#;

/// AWS secret keys are mere base64, so it takes what AWS and its tools call them.
const LABELLED: &str = concat!(
    r"(?:aws_secret_access_key|AWS_SECRET_ACCESS_KEY|[Ss]ecretAccessKey)",
    r#"["']?[ \t]{0,8}[:=][ \t]{0,8}["']?[A-Za-z0-9/+]{40}"#,
);
