//! The options of commands that are clients of a host.

use clap::builder::BoolishValueParser;
use jobwright_core::tenant::TenantName;

use super::options::GLOBAL;
use crate::config::DEFAULT_ADDRESS;

/// How to reach the host.
#[derive(Debug, clap::Args)]
pub(super) struct HostOptions {
    /// The host's address.
    #[arg(long, global = true, help_heading = GLOBAL, env = "JOBWRIGHT_HOST", value_name = "URL",
          default_value_t = format!("http://{DEFAULT_ADDRESS}"))]
    pub(super) host: String,
    /// The API key, if the host requires one. Other users of this machine can see arguments (`ps`):
    /// prefer the variable [default: none].
    #[arg(long, global = true, help_heading = GLOBAL, env = "JOBWRIGHT_API_KEY", value_name = "KEY",
          hide_env_values = true)]
    pub(super) api_key: Option<String>,
    /// The tenant to act for; only a key with the scope admin can name another than its own [default:
    /// that of the key].
    #[arg(long, global = true, help_heading = GLOBAL, env = "JOBWRIGHT_TENANT")]
    pub(super) tenant: Option<TenantName>,
    /// Reach the host through this proxy, such as `http://127.0.0.1:3128`. `HTTP_PROXY` and
    /// similar variables are ignored [default: none].
    #[arg(long, global = true, help_heading = GLOBAL, env = "JOBWRIGHT_PROXY", value_name = "URL")]
    pub(super) proxy: Option<String>,
    /// Send keys and secrets unencrypted to a host that is not on this machine.
    #[arg(long, global = true, help_heading = GLOBAL, env = "JOBWRIGHT_INSECURE_HTTP",
          value_parser = BoolishValueParser::new())]
    pub(super) insecure_http: bool,
}
