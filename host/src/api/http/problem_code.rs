//! The codes of problems (RFC 9457): what programs compare. They are stable within `/v1`; the text of a
//! problem is for people and can change. `host/docs/src/reference/http.md` lists them.

use axum::http::StatusCode;
use jobwright_core::runtime::UnusableCode;

/// Declares the codes once, by status: the enum, the list of all, their statuses and their strings.
macro_rules! problem_codes {
    ($($status:ident { $($(#[doc = $doc:literal])+ $variant:ident = $code:literal,)* })*) => {
        /// A stable code, which programs may compare. Each belongs to one status.
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        pub enum ProblemCode {
            $($($(#[doc = $doc])+ $variant,)*)*
            /// An upload whose bytes no attempt could run: 415 if they are not WebAssembly, else 422.
            UnusablePlugin(UnusableCode),
        }

        impl ProblemCode {
            /// All codes but those of unusable plugins.
            const OF_THE_API: &[Self] = &[$($(Self::$variant),*),*];

            /// The status of responses with this code.
            #[must_use]
            pub fn status(self) -> StatusCode {
                match self {
                    $($(Self::$variant)|* => StatusCode::$status,)*
                    Self::UnusablePlugin(UnusableCode::NotWasm) => StatusCode::UNSUPPORTED_MEDIA_TYPE,
                    Self::UnusablePlugin(_) => StatusCode::UNPROCESSABLE_ENTITY,
                }
            }

            /// The code as clients see it.
            #[must_use]
            pub fn as_str(self) -> &'static str {
                match self {
                    $($(Self::$variant => $code,)*)*
                    Self::UnusablePlugin(code) => code.as_str(),
                }
            }
        }
    };
}

problem_codes! {
    BAD_REQUEST {
        /// The body is not JSON of the expected form, or not UTF-8.
        InvalidJson = "invalid_json",
        /// Parameters of the query are unknown, repeated or malformed.
        InvalidQuery = "invalid_query",
        /// A name in the path, the query or a header is malformed.
        InvalidName = "invalid_name",
        /// A version of a plugin is malformed.
        InvalidVersion = "invalid_version",
        /// A digest is malformed.
        InvalidDigest = "invalid_digest",
        /// A job id, or the beginning of one, is malformed.
        InvalidJobId = "invalid_job_id",
        /// A variable part of the path cannot be decoded.
        InvalidPath = "invalid_path",
        /// The duration of `?wait=` is malformed.
        InvalidWait = "invalid_wait",
        /// The header `Idempotency-Key` is malformed, repeated, or sent with many jobs.
        InvalidIdempotencyKey = "invalid_idempotency_key",
        /// The route takes no body.
        UnexpectedBody = "unexpected_body",
        /// The body ended early, or its framing is invalid.
        BrokenBody = "broken_body",
        /// The job has both `payload` and `payload_base64`.
        TwoPayloads = "two_payloads",
        /// One request has too many jobs.
        BatchTooLong = "batch_too_long",
        /// The request names two hosts.
        SeveralHosts = "several_hosts",
    }
    UNAUTHORIZED {
        /// The request has no valid API key, and the host demands one.
        Unauthorized = "unauthorized",
    }
    FORBIDDEN {
        /// The key does not have the scope that the request needs.
        ScopeMissing = "scope_missing",
        /// The request names another tenant, and its key is not an administrator's.
        OtherTenant = "other_tenant",
        /// The caller's tenant is disabled.
        TenantDisabled = "disabled",
        /// An administrator disabled it, so only an administrator can enable it.
        DisabledByOperator = "disabled_by_operator",
        /// The `Host` is not a name of this host.
        ForeignHost = "foreign_host",
        /// A page of another site sent the request.
        ForeignOrigin = "foreign_origin",
    }
    NOT_FOUND {
        /// No route has this path.
        NoSuchRoute = "no_such_route",
        /// The tenant has no plugin of this name.
        PluginNotFound = "plugin_not_found",
        /// The plugin has no version that matches.
        VersionNotFound = "version_not_found",
        /// The tenant has no job with this id.
        JobNotFound = "job_not_found",
        /// The job has no attempt of this number.
        AttemptNotFound = "attempt_not_found",
        /// The job has no output.
        NoOutput = "no_output",
        /// The tenant has no secret of this name.
        SecretNotFound = "secret_not_found",
        /// No key has this id.
        KeyNotFound = "key_not_found",
        /// Nothing belongs to a tenant of this name.
        TenantNotFound = "tenant_not_found",
    }
    METHOD_NOT_ALLOWED {
        /// The path has no route for this method.
        MethodNotAllowed = "method_not_allowed",
    }
    REQUEST_TIMEOUT {
        /// The body did not arrive in time.
        BodyTimeout = "body_timeout",
    }
    CONFLICT {
        /// The prefix of a job id matches several jobs.
        AmbiguousJobId = "ambiguous_job_id",
        /// The job is finalized, so it cannot be cancelled.
        AlreadyFinalized = "already_finalized",
        /// The job is running, so it cannot be retried yet.
        AlreadyRunning = "already_running",
        /// The plugin, its version or its digest is disabled.
        PluginDisabled = "disabled",
        /// The version exists with other bytes.
        VersionTaken = "version_taken",
        /// Unfinished jobs need the plugin.
        PluginInUse = "plugin_in_use",
        /// The tenant has plugins or unfinished jobs.
        TenantInUse = "tenant_in_use",
        /// The default tenant cannot be removed.
        DefaultTenant = "default_tenant",
        /// The first key must be an administrator's, and must not expire.
        FirstKey = "first_key",
        /// The last key of an administrator that does not expire cannot be revoked.
        LastKey = "last_key",
        /// The host keeps no more keys.
        TooManyKeys = "too_many_keys",
        /// The tenant has too many queues to pause one that has no jobs.
        TooManyQueues = "too_many_queues",
        /// The host keeps no limits of more tenants.
        TooManyTenants = "too_many_tenants",
        /// No more plugins, versions, digests or tenants can be disabled.
        TooManyDisabled = "too_many_disabled",
    }
    PAYLOAD_TOO_LARGE {
        /// The body or payload is longer than its limit.
        TooLarge = "too_large",
    }
    UNSUPPORTED_MEDIA_TYPE {
        /// The body is compressed.
        UnsupportedEncoding = "unsupported_encoding",
    }
    UNPROCESSABLE_ENTITY {
        /// Fields, or parameters that are well formed, are invalid.
        InvalidFields = "invalid_fields",
        /// The idempotency key belongs to another request.
        IdempotencyKeyReused = "idempotency_key_reused",
    }
    TOO_MANY_REQUESTS {
        /// The tenant has as many unfinished jobs, or as many bytes of payloads, as it may.
        TenantFull = "tenant_full",
        /// The tenant sends requests faster than its rate limit.
        TooFast = "too_fast",
    }
    INTERNAL_SERVER_ERROR {
        /// The host failed; its log has the cause.
        Internal = "internal",
    }
    SERVICE_UNAVAILABLE {
        /// The queue has as many jobs that are due or running as it may.
        QueueFull = "queue_full",
        /// The queue has as many jobs that are not due as it may.
        ParkedFull = "parked_full",
        /// A shared resource of the host, or the tenant's share of it, is in use.
        Busy = "busy",
        /// The disk has less free space than its floor.
        DiskLow = "disk_low",
        /// The store is unavailable.
        StoreUnavailable = "store_unavailable",
    }
    INSUFFICIENT_STORAGE {
        /// The registry, or the tenant's share of it, has no space for the plugin.
        RegistryFull = "registry_full",
        /// The disk under the data directory is full.
        DiskFull = "disk_full",
        /// The tenant has as many secrets as it may.
        TooManySecrets = "too_many_secrets",
    }
}

impl ProblemCode {
    /// All codes, for documents and tests.
    pub fn all() -> impl Iterator<Item = Self> {
        let unusable = UnusableCode::ALL.iter().copied().map(Self::UnusablePlugin);
        Self::OF_THE_API.iter().copied().chain(unusable)
    }
}
