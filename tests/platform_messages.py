"""
Error messages of the platforms with what each means and where it is documented.

Each row: the platforms, the reason, the source, the messages. The wordings are those that the platforms' interfaces return;
the sources are the vendors' own documents.
"""

from collections.abc import Iterator

from monitor.errors import Reason

_LINKEDIN = "learn.microsoft.com/en-us/linkedin/shared/api-guide/concepts/error-handling"
_LINKEDIN_LIMITS = "learn.microsoft.com/en-us/linkedin/shared/api-guide/concepts/rate-limits"
_LINKEDIN_VERSIONS = "learn.microsoft.com/en-us/linkedin/marketing/versioning"
_LINKEDIN_REFRESH = "learn.microsoft.com/en-us/linkedin/shared/authentication/programmatic-refresh-tokens"
_LINKEDIN_POSTS = "learn.microsoft.com/en-us/linkedin/marketing/community-management/shares/posts-api"
_META = "developers.facebook.com/docs/graph-api/guides/error-handling"
_META_TOKENS = "developers.facebook.com/docs/facebook-login/guides/access-tokens/debugging"
_META_LIMITS = "developers.facebook.com/docs/graph-api/overview/rate-limiting"
_META_PAGES = "developers.facebook.com/docs/pages-api/overview"
_INSTAGRAM = "developers.facebook.com/docs/instagram-platform/instagram-graph-api/reference/error-codes"
_THREADS = "developers.facebook.com/docs/threads/troubleshooting"
_X = "docs.x.com/x-api/fundamentals/response-codes-and-errors"
_X_LIMITS = "docs.x.com/x-api/fundamentals/rate-limits"
_X_OAUTH = "docs.x.com/fundamentals/authentication/oauth-2-0/authorization-code"
_TIKTOK = "developers.tiktok.com/doc/tiktok-api-v2-error-handling"
_TIKTOK_OAUTH = "developers.tiktok.com/doc/oauth-error-handling"
_TIKTOK_POST = "developers.tiktok.com/doc/content-posting-api-reference-direct-post"
_TIKTOK_STATUS = "developers.tiktok.com/doc/content-posting-api-reference-get-video-status"
_YOUTUBE = "developers.google.com/youtube/v3/docs/errors"
_YOUTUBE_CORE = "developers.google.com/youtube/v3/docs/core_errors"
_YOUTUBE_AUTH = "developers.google.com/youtube/v3/guides/authentication"
_GOOGLE_OAUTH = "developers.google.com/identity/protocols/oauth2"
_GOOGLE_ERRORS = "cloud.google.com/apis/design/errors"
_BLUESKY_SESSION = "docs.bsky.app/docs/api/com-atproto-server-create-session"
_BLUESKY_PROFILE = "docs.bsky.app/docs/api/app-bsky-actor-get-profile"
_BLUESKY_LIMITS = "docs.bsky.app/docs/advanced-guides/rate-limits"
_XRPC = "atproto.com/specs/xrpc"
_MASTODON = "docs.joinmastodon.org/methods/accounts"
_MASTODON_OAUTH = "docs.joinmastodon.org/methods/oauth"
_MASTODON_LIMITS = "docs.joinmastodon.org/api/rate-limits"
_MASTODON_ERROR = "docs.joinmastodon.org/entities/Error"
_BOT_API = "core.telegram.org/bots/api#making-requests"
_BOT_FAQ = "core.telegram.org/bots/faq"
_MTPROTO = "core.telegram.org/api/errors"
_MTPROTO_SEND = "core.telegram.org/method/messages.sendMessage"
_PINTEREST = "developers.pinterest.com/docs/api/v5/"
_PINTEREST_AUTH = "developers.pinterest.com/docs/getting-started/set-up-authentication-and-authorization"
_PINTEREST_LIMITS = "developers.pinterest.com/docs/reference/rate-limits"
_HTTP = "www.rfc-editor.org/rfc/rfc9110"
_LIBUV = "docs.libuv.org/en/v1.x/errors.html"
_NODE = "nodejs.org/api/errors.html"
_NODE_TLS = "nodejs.org/api/tls.html"
_NODE_DNS = "nodejs.org/api/dns.html"
_UNDICI = "github.com/nodejs/undici/blob/main/docs/docs/api/Errors.md"
_AXIOS = "axios-http.com/docs/handling_errors"
_GOT = "github.com/sindresorhus/got/blob/main/documentation/8-errors.md"
_NODE_FETCH = "github.com/node-fetch/node-fetch/blob/main/docs/ERROR-HANDLING.md"
_REQUESTS = "requests.readthedocs.io/en/latest/api"
_GO = "pkg.go.dev/net/http"
_JAVA = "docs.oracle.com/en/java/javase/21/docs/api/java.base/java/net"
_CLOUDFLARE = "developers.cloudflare.com/support/troubleshooting/http-status-codes"
_NGINX = "nginx.org/en/docs/http/ngx_http_proxy_module.html"
_ENVOY = "www.envoyproxy.io/docs/envoy/latest/configuration/http/http_conn_man/response_code_details"
_JSON = "developer.mozilla.org/en-US/docs/Web/JavaScript/Reference/Errors/JSON_bad_parse"
_MTPROTO_TOPICS = "core.telegram.org/constructor/forumTopic"

_ANY = ("linkedin", "facebook", "instagram", "threads", "twitter", "tiktok", "youtube", "bluesky", "mastodon", "pinterest", "snapchat")
_EVERY = (*_ANY, "telegram")
_FACEBOOK = ("facebook",)
_META_ALL = ("facebook", "instagram", "threads")

_STATUS_FORMS = (
    "HTTP {}",
    "HTTP/1.1 {}",
    "HTTP error! status: {}",
    "http_{}",
    "{}",
    "status {}",
    '{{"status":{}}}',
    "statusCode: {}",
    "Request failed with status {}",
    "Request failed with status code {}",
    "Request failed with code {}",
    "unexpected status code {}",
    "responded with {}",
    "Server responded with a {} status",
    "Server returned {}",
    "Response code {}",
    "API error: {}",
    "API error ({})",
    "Error {}",
    '{{"error":{{"code":{},"errors":[]}}}}',
)
_NETWORK_CODES = (
    "ECONNREFUSED", "ECONNRESET", "ECONNABORTED", "ETIMEDOUT", "ESOCKETTIMEDOUT", "EPIPE", "EHOSTUNREACH", "EHOSTDOWN", "ENETUNREACH",
    "ENETDOWN", "EADDRNOTAVAIL", "EAI_AGAIN", "ENOTFOUND", "EPROTO", "ENOTCONN", "ECANCELED", "EMFILE", "ENOBUFS", "EACCES", "EPERM",
)  # fmt: skip

_R = Reason
_ROWS: tuple[tuple[tuple[str, ...], Reason, str, tuple[str, ...]], ...] = (
    # ---- what other platforms than those below say in the same words, and what HTTP clients say of all
    (
        _EVERY,
        _R.PLATFORM_TROUBLE,
        _HTTP,
        (
            *(form.format(status) for status in (500, 502, 503, 504) for form in _STATUS_FORMS),
            "503 Service Unavailable",
            "500 Internal Server Error",
            "502 Server Error: Bad Gateway for url: https://api.example/me",
            "HTTP Error 408: Request Timeout",
        ),
    ),
    (_EVERY, _R.PLATFORM_LIMITED, _HTTP, tuple(form.format(429) for form in _STATUS_FORMS)),
    (_ANY, _R.CREDENTIAL_REJECTED, _HTTP, tuple(form.format(401) for form in _STATUS_FORMS)),
    (_ANY, _R.RIGHTS_LOST, _HTTP, tuple(form.format(403) for form in _STATUS_FORMS)),
    (_ANY, _R.TARGET_GONE, _HTTP, (*(form.format(status) for status in (404, 410) for form in _STATUS_FORMS), "410 Gone")),
    (_EVERY, _R.PLATFORM_TROUBLE, _NGINX, ("504 Gateway Time-out", "503 Service Temporarily Unavailable")),
    (_EVERY, _R.PLATFORM_TROUBLE, _CLOUDFLARE, ("Error 521: Web server is down", "522: Connection timed out", "error 1020", "520")),
    (
        _EVERY,
        _R.PLATFORM_TROUBLE,
        _LIBUV,
        (
            *(f"connect {code} 10.0.0.1:443" for code in _NETWORK_CODES),
            *_NETWORK_CODES,
            "getaddrinfo EAI_FAIL graph.facebook.com",
            "write EPIPE",
        ),
    ),
    (_EVERY, _R.PLATFORM_TROUBLE, _NODE_DNS, ("queryA ESERVFAIL api.x.com", "queryAaaa ENODATA api.x.com", "getaddrinfo ENOTFOUND x")),
    (
        _EVERY,
        _R.PLATFORM_TROUBLE,
        _NODE,
        (
            "socket hang up",
            "aborted",
            "The operation was aborted",
            "This operation was aborted",
            "AbortError: The operation was aborted due to timeout",
            "ERR_STREAM_PREMATURE_CLOSE",
            "Premature close",
            "ERR_SOCKET_CONNECTION_TIMEOUT",
            "Parse Error: Expected HTTP/",
            "HPE_INVALID_CONSTANT",
            "ERR_HTTP2_STREAM_ERROR",
            "Stream closed with error code NGHTTP2_INTERNAL_ERROR",
        ),
    ),
    (
        _EVERY,
        _R.PLATFORM_TROUBLE,
        _NODE_TLS,
        (
            "Client network socket disconnected before secure TLS connection was established",
            "certificate has expired",
            "CERT_HAS_EXPIRED",
            "self signed certificate",
            "DEPTH_ZERO_SELF_SIGNED_CERT",
            "self-signed certificate in certificate chain",
            "UNABLE_TO_VERIFY_LEAF_SIGNATURE",
            "ERR_TLS_CERT_ALTNAME_INVALID",
            "Hostname/IP does not match certificate's altnames: Host: api.x.com.",
            "write EPROTO 140:error:1408F10B:SSL routines:ssl3_get_record:wrong version number",
        ),
    ),
    (
        _EVERY,
        _R.PLATFORM_TROUBLE,
        _UNDICI,
        (
            "fetch failed",
            "TypeError: fetch failed",
            "terminated",
            "TypeError: terminated",
            "UND_ERR_SOCKET: other side closed",
            "UND_ERR_CONNECT_TIMEOUT",
            "HeadersTimeoutError: Headers Timeout Error",
            "UND_ERR_BODY_TIMEOUT",
            "UND_ERR_RESPONSE_STATUS_CODE",
        ),
    ),
    (_EVERY, _R.PLATFORM_TROUBLE, _AXIOS, ("Network Error", "timeout of 10000ms exceeded", "ERR_BAD_RESPONSE", "ECONNABORTED", "canceled")),
    (
        _EVERY,
        _R.PLATFORM_TROUBLE,
        _GOT,
        (
            "Response code 503 (Service Unavailable)",
            "Timeout awaiting 'request' for 10000ms",
            "ESOCKETTIMEDOUT",
            "The server aborted pending request",
        ),
    ),
    (
        _EVERY,
        _R.PLATFORM_TROUBLE,
        _NODE_FETCH,
        (
            "request to https://graph.facebook.com/me failed, reason: connect ECONNREFUSED 10.0.0.1:443",
            "invalid json response body at https://api.x.com/2/me reason: Unexpected token < in JSON at position 0",
        ),
    ),
    (
        _EVERY,
        _R.PLATFORM_TROUBLE,
        _REQUESTS,
        (
            "HTTPSConnectionPool(host='api.x.com', port=443): Max retries exceeded with url: /2/me",
            "Failed to establish a new connection: [Errno -2] Name or service not known",
            "('Connection aborted.', RemoteDisconnected('Remote end closed connection without response'))",
            "Read timed out. (read timeout=10)",
            "[SSL: CERTIFICATE_VERIFY_FAILED] certificate verify failed",
        ),
    ),
    (
        _EVERY,
        _R.PLATFORM_TROUBLE,
        _GO,
        (
            'Get "https://api.x.com/2/me": dial tcp 10.0.0.1:443: connect: connection refused',
            "dial tcp: lookup api.x.com: no such host",
            "read tcp 10.0.0.2:1->10.0.0.1:443: i/o timeout",
            'Get "https://api.x.com": context deadline exceeded (Client.Timeout exceeded while awaiting headers)',
            'Post "https://api.x.com": unexpected EOF',
            "http: server closed idle connection",
            "x509: certificate signed by unknown authority",
            "net/http: TLS handshake timeout",
        ),
    ),
    (
        _EVERY,
        _R.PLATFORM_TROUBLE,
        _JAVA,
        (
            "java.net.UnknownHostException: api.x.com",
            "java.net.SocketTimeoutException: Read timed out",
            "java.net.ConnectException: Connection refused",
            "java.net.NoRouteToHostException: No route to host",
            "java.net.SocketException: Connection reset",
            "javax.net.ssl.SSLHandshakeException: PKIX path building failed",
            "Server returned HTTP response code: 503 for URL: https://api.x.com",
            "unexpected end of stream",
        ),
    ),
    (
        _EVERY,
        _R.PLATFORM_TROUBLE,
        _ENVOY,
        ("upstream connect error or disconnect/reset before headers. reset reason: connection termination", "no healthy upstream"),
    ),
    (
        _EVERY,
        _R.PLATFORM_TROUBLE,
        _JSON,
        (
            "Unexpected token < in JSON at position 0",
            "Unexpected token '<', \"<!DOCTYPE \"... is not valid JSON",
            "Unexpected end of JSON input",
        ),
    ),
    (
        _EVERY,
        _R.PLATFORM_TROUBLE,
        _GOOGLE_ERRORS,
        (
            "Internal error",
            "internal_error",
            "InternalServerError",
            "Backend Error",
            "Server error",
            "UNAVAILABLE",
            "The service is currently unavailable.",
            "DEADLINE_EXCEEDED",
            "Something went wrong on our end.",
            "Please try again later",
            "Please retry later.",
            "The service is under maintenance",
            "API is temporarily offline",
            "Temporary failure",
        ),
    ),
    # ---- LinkedIn
    (
        ("linkedin",),
        _R.TOKEN_EXPIRED,
        _LINKEDIN,
        (
            "The token used in the request has expired",
            '{"status":401,"serviceErrorCode":65602,"code":"EXPIRED_ACCESS_TOKEN","message":"The token used in the request has expired"}',
            "Expired access token",
        ),
    ),
    (
        ("linkedin",),
        _R.CREDENTIAL_REJECTED,
        _LINKEDIN,
        (
            "The token used in the request has been revoked by the user",
            '{"serviceErrorCode":65601,"code":"REVOKED_ACCESS_TOKEN","status":401}',
            "Invalid access token",
            '{"code":"INVALID_ACCESS_TOKEN","serviceErrorCode":65600}',
            "Unable to verify access token",
            "Empty oauth2_access_token",
            "Request failed with status code 401",
        ),
    ),
    (
        ("linkedin",),
        _R.CREDENTIAL_REJECTED,
        _LINKEDIN_REFRESH,
        ("invalid_grant: The provided authorization grant or refresh token is invalid, expired or revoked", "The refresh token is invalid"),
    ),
    (
        ("linkedin",),
        _R.RIGHTS_LOST,
        _LINKEDIN,
        (
            "Not enough permissions to access: GET /me",
            "Not enough permissions to access: partnerApiPosts.CREATE.20240801",
            '{"serviceErrorCode":100,"code":"ACCESS_DENIED","status":403}',
            "Unpermitted fields present in PARAMETER: Data Processing Exception",
        ),
    ),
    (
        ("linkedin",),
        _R.RIGHTS_LOST,
        _LINKEDIN_POSTS,
        (
            "Organization permissions must be used when using organization as author",
            "Member does not have permission to create posts on behalf of this organization",
        ),
    ),
    (("linkedin",), _R.ACCOUNT_RESTRICTED, _LINKEDIN, ("Member is restricted", '{"code":"MEMBER_RESTRICTED","status":403}')),
    (
        ("linkedin",),
        _R.PLATFORM_LIMITED,
        _LINKEDIN_LIMITS,
        (
            "Resource level throttle APPLICATION_AND_MEMBER DAY limit for calls to this resource is reached.",
            "Throttle limit for calls to this resource is reached.",
            '{"code":"TOO_MANY_REQUESTS","status":429}',
            "Request failed with status code 429",
        ),
    ),
    (
        ("linkedin",),
        _R.APP_REFUSED,
        _LINKEDIN_VERSIONS,
        ('{"status":426,"code":"NONEXISTENT_VERSION"}', "Requested version 20220601 is not active"),
    ),
    (("linkedin",), _R.APP_REFUSED, _LINKEDIN, ("Your application has been disabled",)),
    (("linkedin",), _R.VALIDATION_FAILED, _LINKEDIN, ("Unpermitted fields present in REQUEST_BODY: Data Processing Exception",)),
    (("linkedin",), _R.TARGET_GONE, _LINKEDIN, ("Could not find entity", '{"code":"RESOURCE_NOT_FOUND","status":404}')),
    (("linkedin",), _R.PLATFORM_TROUBLE, _LINKEDIN, ("Internal Server Error", "Request failed with status code 504", "Bad Gateway")),
    (
        ("linkedin",),
        _R.CREDENTIAL_REJECTED,
        _LINKEDIN,
        ("The token is not valid", "The token used in the request is not valid", "Unknown authentication scheme"),
    ),
    (("linkedin",), _R.PLATFORM_LIMITED, _LINKEDIN_LIMITS, ("Request failed with status code 999",)),
    # ---- Facebook, Instagram, Threads
    (
        _META_ALL,
        _R.TOKEN_EXPIRED,
        _META_TOKENS,
        (
            "Error validating access token: Session has expired on Wednesday, 14-Feb-18 18:00:00 PST. The current time is Thursday.",
            "Error validating access token: Session has expired",
            '{"type":"OAuthException","code":190,"error_subcode":463}',
        ),
    ),
    (
        _META_ALL,
        _R.CREDENTIAL_REJECTED,
        _META_TOKENS,
        (
            (
                "Error validating access token: The session has been invalidated because the user changed their password or Facebook has "
                "changed the session for security reasons."
            ),
            "Error validating access token: The user has not authorized application 1234567.",
            "Error validating access token: The session is invalid because the user logged out.",
            "Error validating access token: The session was invalidated explicitly using an API call.",
            "Invalid OAuth access token - Cannot parse access token",
            "Malformed access token EAAB",
        ),
    ),
    (
        _META_ALL,
        _R.CREDENTIAL_REJECTED,
        _META,
        (
            "(#190) This method must be called with a valid access token",
            '{"code":190,"error_subcode":460}',
            '{"code":190,"error_subcode":458}',
            '{"code":190,"error_subcode":467}',
            "OAuthException 190",
            "(#102) Session key invalid or no longer valid",
            "An active access token must be used to query information about the current user.",
            "(#104) An access token is required to request this resource.",
            "(#190) Cannot call API for app 123 on behalf of user 456",
        ),
    ),
    (
        _META_ALL,
        _R.ACCOUNT_RESTRICTED,
        _META,
        (
            "You cannot access the app till you log in to www.facebook.com and follow the instructions given.",
            '{"code":190,"error_subcode":459}',
            "Error validating access token: Sessions for the user are not allowed because the user is not a confirmed user.",
            '{"code":190,"error_subcode":464}',
            "Error validating access token: The user is enrolled in a blocking, logged-in checkpoint",
            "(#368) The action attempted has been deemed abusive or is otherwise disallowed",
            "(#368) Temporarily blocked for policies violations",
        ),
    ),
    (("instagram",), _R.ACCOUNT_RESTRICTED, _INSTAGRAM, ("The Instagram account is restricted.", '{"code":25,"error_subcode":2207050}')),
    (("instagram",), _R.ACCOUNT_RESTRICTED, _INSTAGRAM, ("We restrict certain activity to protect our community.",)),
    (
        _META_ALL,
        _R.RIGHTS_LOST,
        _META,
        (
            "(#10) Application does not have permission for this action",
            "(#200) Requires pages_manage_posts permission to manage the object",
            "(#200) The user hasn't authorized the application to perform this action",
            "(#200) Permissions error",
            "(#299) Unknown permission",
            '{"code":190,"error_subcode":492}',
        ),
    ),
    (
        _FACEBOOK,
        _R.RIGHTS_LOST,
        _META_PAGES,
        (
            "The user must be an administrator, editor, or moderator of the page in order to impersonate it.",
            "(#210) A page access token is required to request this resource.",
            "(#283) Requires pages_read_engagement permission to manage the object",
            "The user does not have an appropriate role on the Page",
            "(#10) This endpoint requires the 'pages_read_engagement' permission or the 'Page Public Content Access' feature.",
        ),
    ),
    (("instagram",), _R.RIGHTS_LOST, _INSTAGRAM, ("(#10) The user is not an Instagram Business",)),
    (
        ("instagram", "threads"),
        _R.RIGHTS_LOST,
        _THREADS,
        ("(#200) Requires threads_content_publish permission", "Missing permissions: threads_basic"),
    ),
    (
        _META_ALL,
        _R.PLATFORM_LIMITED,
        _META_LIMITS,
        (
            "(#4) Application request limit reached",
            "(#17) User request limit reached",
            "(#32) Page request limit reached",
            "(#341) Application limit reached",
            "(#613) Calls to this api have exceeded the rate limit.",
            "(#80001) There have been too many calls to this Page account. Wait a bit and try again.",
            '{"message":"limit","code":4}',
        ),
    ),
    (("instagram",), _R.PLATFORM_LIMITED, _INSTAGRAM, ("You reached maximum number of posts that is allowed to be published",)),
    (
        _META_ALL,
        _R.TARGET_GONE,
        _META,
        (
            (
                "Unsupported get request. Object with ID '17841' does not exist, cannot be loaded due to missing permissions, or does not "
                "support this operation."
            ),
            '{"type":"GraphMethodException","code":100,"error_subcode":33}',
            "(#803) Some of the aliases you requested do not exist: mypage",
        ),
    ),
    (
        _META_ALL,
        _R.APP_REFUSED,
        _META,
        (
            "API access blocked.",
            "(#200) API access deactivated. To reactivate, go to the app dashboard.",
            "Error validating application. Application has been deleted.",
            "This app has been deleted",
            "(#3) Application does not have the capability to make this API call.",
            "App not active: This app is not currently accessible",
        ),
    ),
    (
        _META_ALL,
        _R.PLATFORM_TROUBLE,
        _META,
        (
            "(#2) Service temporarily unavailable",
            "An unexpected error has occurred. Please retry your request later.",
            "(#1) An unknown error occurred",
            "Request failed with status code 500",
        ),
    ),
    (
        _META_ALL,
        _R.VALIDATION_FAILED,
        _META,
        ("(#100) Invalid parameter", "Request failed with status code 400"),
    ),
    (_META_ALL, _R.CREDENTIAL_REJECTED, _META, ("Error 190", "Error 190: Invalid OAuth 2.0 Access Token", "login_required")),
    (_META_ALL, _R.ACCOUNT_RESTRICTED, _META, ("challenge_required", "checkpoint_required", "User access is restricted", "error code 368")),
    (("instagram",), _R.PLATFORM_LIMITED, _INSTAGRAM, ("(#9) User is posting too fast", "Please wait a few minutes before you try again.")),
    (
        _FACEBOOK,
        _R.PLATFORM_LIMITED,
        _META_LIMITS,
        ("We limit how often you can post, comment or do other things. You can try again later.",),
    ),
    (_META_ALL, _R.TARGET_GONE, _META, ("(#100) The page is unpublished", "(#24) The requested resource does not exist")),
    (_META_ALL, _R.PLATFORM_TROUBLE, _META, ("API Unknown", "Something went wrong. Please try again later.")),
    # ---- X
    (
        ("twitter",),
        _R.CREDENTIAL_REJECTED,
        _X,
        (
            "Invalid or expired token.",
            '{"errors":[{"code":89,"message":"Invalid or expired token."}]}',
            "Could not authenticate you.",
            "[32] Could not authenticate you",
            "Unable to verify your credentials",
            "Unauthorized",
        ),
    ),
    (("twitter",), _R.CREDENTIAL_REJECTED, _X_OAUTH, ("invalid_request: Value passed for the token was invalid.",)),
    (
        ("twitter",),
        _R.ACCOUNT_RESTRICTED,
        _X,
        (
            "Your account is suspended and is not permitted to access this feature.",
            '{"code":64,"message":"suspended"}',
            (
                "To protect our users from spam and other malicious activity, this account is temporarily locked. Please log in to "
                "https://x.com to unlock your account."
            ),
            '{"code":326}',
            "User has been suspended.",
        ),
    ),
    (
        ("twitter",),
        _R.PLATFORM_LIMITED,
        _X_LIMITS,
        (
            "Rate limit exceeded",
            "Too Many Requests",
            "Usage cap exceeded: Monthly product cap",
            "https://api.x.com/2/problems/usage-capped",
            "User is over daily status update limit.",
            "This request looks like it might be automated. To protect our users from spam, we can't complete this action right now.",
        ),
    ),
    (
        ("twitter",),
        _R.APP_REFUSED,
        _X,
        (
            "https://api.x.com/2/problems/client-forbidden",
            '{"reason":"client-not-enrolled"}',
            "When authenticating requests you must use keys from a developer App that is attached to a Project.",
            "You currently have access to a subset of X API V2 endpoints and limited v1.1 endpoints",
            "Invalid / suspended application",
            "Application cannot perform write actions.",
            "Client is not permitted to perform this action.",
            "Your client app is not configured with the appropriate oauth1 app permissions for this endpoint.",
            "CreditsDepleted: Your enrolled account does not have any credits to fulfill this request.",
        ),
    ),
    (
        ("twitter",),
        _R.RIGHTS_LOST,
        _X,
        ("Your credentials do not allow access to this resource", "You are not permitted to perform this action."),
    ),
    (("twitter",), _R.TARGET_GONE, _X, ("User not found.", "Could not find user with id: [783214].")),
    (
        ("twitter",),
        _R.PLATFORM_TROUBLE,
        _X,
        ("Over capacity", "Internal error", "Service Unavailable", "Request failed with status code 503"),
    ),
    (("twitter",), _R.PLATFORM_LIMITED, _X, ("UsageCapExceeded", "usage-cap-exceeded", "usage_cap_exceeded", "Usage cap exceeded")),
    (
        ("twitter",),
        _R.APP_REFUSED,
        _X,
        (
            "Read-only application cannot POST.",
            "Your current API plan does not include access to this endpoint",
            "This application has been suspended",
        ),
    ),
    (("twitter",), _R.PLATFORM_TROUBLE, _X, ("Something is technically wrong", "Twitter is down for maintenance")),
    # ---- TikTok
    (
        ("tiktok",),
        _R.CREDENTIAL_REJECTED,
        _TIKTOK,
        (
            "The access token is invalid or not found in the request.",
            "access token is invalid or not found",
            "access_token_invalid",
            "Access token is invalid or revoked",
        ),
    ),
    (("tiktok",), _R.CREDENTIAL_REJECTED, _TIKTOK_OAUTH, ("invalid_grant: Refresh token is invalid or expired.", "access_denied")),
    (("tiktok",), _R.CREDENTIAL_REJECTED, _TIKTOK_STATUS, ("auth_removed",)),
    (("tiktok",), _R.TOKEN_EXPIRED, _TIKTOK_OAUTH, ("The access token has expired", "refresh_token expired")),
    (
        ("tiktok",),
        _R.RIGHTS_LOST,
        _TIKTOK,
        (
            "scope_not_authorized",
            "The user did not authorize the scope required for completing this request.",
            "scope_permission_missed: Access token is invalid, some fields need additional scopes.",
        ),
    ),
    (
        ("tiktok",),
        _R.ACCOUNT_RESTRICTED,
        _TIKTOK_POST,
        ("spam_risk_user_banned_from_posting", "The user is banned from making new posts."),
    ),
    (
        ("tiktok",),
        _R.PLATFORM_LIMITED,
        _TIKTOK_POST,
        (
            "spam_risk_too_many_posts",
            "The daily post cap from the API is reached for the current user.",
            "reached_active_user_cap",
            "spam_risk_too_many_pending_share",
        ),
    ),
    (("tiktok",), _R.PLATFORM_LIMITED, _TIKTOK, ("rate_limit_exceeded", "The API rate limit was exceeded. Please try again later.")),
    (("tiktok",), _R.APP_REFUSED, _TIKTOK_POST, ("unaudited_client_can_only_post_to_private_accounts",)),
    (("tiktok",), _R.APP_REFUSED, _TIKTOK_OAUTH, ("invalid_client: Client key or secret is incorrect.", "unauthorized_client")),
    (("tiktok",), _R.PLATFORM_TROUBLE, _TIKTOK, ("internal_error", "Something went wrong. Please try again later.")),
    (("tiktok",), _R.TOKEN_EXPIRED, _TIKTOK, ("access_token_expired", "AccessTokenExpired", "refresh_token_expired")),
    (("tiktok",), _R.CREDENTIAL_REJECTED, _TIKTOK, ("AccessTokenInvalid", "Access token has been removed by user")),
    (("tiktok",), _R.ACCOUNT_RESTRICTED, _TIKTOK_POST, ("User has been banned", "user banned")),
    # ---- YouTube
    (
        ("youtube",),
        _R.CREDENTIAL_REJECTED,
        _GOOGLE_OAUTH,
        ("invalid_grant", "invalid_grant: Token has been expired or revoked.", "reauth related error (invalid_rapt)"),
    ),
    (
        ("youtube",),
        _R.CREDENTIAL_REJECTED,
        _YOUTUBE_CORE,
        (
            "authError: Invalid Credentials",
            "Request had invalid authentication credentials. Expected OAuth 2 access token, login cookie or other valid credential.",
            "Request is missing required authentication credential.",
            '{"status":"UNAUTHENTICATED"}',
        ),
    ),
    (
        ("youtube",),
        _R.ACCOUNT_RESTRICTED,
        _YOUTUBE,
        (
            "authenticatedUserAccountSuspended",
            "The YouTube account of the authenticated user is suspended.",
            "channelSuspended",
            "The channel specified in the channelId parameter has been suspended.",
        ),
    ),
    (
        ("youtube",),
        _R.TARGET_GONE,
        _YOUTUBE,
        (
            "authenticatedUserAccountClosed",
            "The YouTube account of the authenticated user is closed.",
            "channelClosed",
            "The channel specified in the channelId parameter has been closed.",
            "channelNotFound",
            "authenticatedUserNotChannel",
        ),
    ),
    (("youtube",), _R.TARGET_GONE, _YOUTUBE_AUTH, ("youtubeSignupRequired", "NoLinkedYouTubeAccount")),
    (
        ("youtube",),
        _R.PLATFORM_LIMITED,
        _YOUTUBE,
        (
            "quotaExceeded",
            "The request cannot be completed because you have exceeded your quota.",
            "uploadLimitExceeded: The user has exceeded the number of videos they may upload.",
        ),
    ),
    (("youtube",), _R.PLATFORM_LIMITED, _YOUTUBE_CORE, ("dailyLimitExceeded", "userRateLimitExceeded", "rateLimitExceeded")),
    (("youtube",), _R.PLATFORM_LIMITED, _GOOGLE_ERRORS, ('{"status":"RESOURCE_EXHAUSTED"}',)),
    (
        ("youtube",),
        _R.RIGHTS_LOST,
        _YOUTUBE_CORE,
        ("insufficientPermissions", "Request had insufficient authentication scopes.", "ACCESS_TOKEN_SCOPE_INSUFFICIENT"),
    ),
    (
        ("youtube",),
        _R.RIGHTS_LOST,
        _YOUTUBE,
        (
            "accountDelegationForbidden",
            "The authenticated user cannot act on behalf of the specified Google Account.",
            "Access forbidden. The request may not be properly authorized.",
        ),
    ),
    (("youtube",), _R.RIGHTS_LOST, _GOOGLE_OAUTH, ("admin_policy_enforced",)),
    (
        ("youtube",),
        _R.APP_REFUSED,
        _YOUTUBE_CORE,
        ("accessNotConfigured", "YouTube Data API v3 has not been used in project 123 before or it is disabled."),
    ),
    (("youtube",), _R.APP_REFUSED, _GOOGLE_OAUTH, ("deleted_client: The OAuth client was deleted.", "disabled_client", "invalid_client")),
    (
        ("youtube",),
        _R.PLATFORM_TROUBLE,
        _YOUTUBE_CORE,
        ("backendError", "internalError", "Internal error encountered.", "The service is currently unavailable."),
    ),
    (("youtube",), _R.PLATFORM_LIMITED, _YOUTUBE_CORE, ("Daily Limit Exceeded", "User Rate Limit Exceeded", "rate_limit_exceeded")),
    (("youtube",), _R.CREDENTIAL_REJECTED, _YOUTUBE_CORE, ("Login Required", "required: login_required")),
    (("youtube",), _R.TARGET_GONE, _YOUTUBE, ("This channel does not exist",)),
    # ---- Bluesky
    (
        ("bluesky",),
        _R.CREDENTIAL_REJECTED,
        _BLUESKY_SESSION,
        (
            "Invalid identifier or password",
            "AuthenticationRequired: Invalid identifier or password",
            "AuthFactorTokenRequired: A sign in code has been sent to your email address",
        ),
    ),
    (
        ("bluesky",),
        _R.CREDENTIAL_REJECTED,
        _XRPC,
        ("InvalidToken: Token could not be verified", "Token has been revoked", "AuthMissing: Authentication Required"),
    ),
    (("bluesky",), _R.TOKEN_EXPIRED, _XRPC, ("ExpiredToken: Token has expired", "Token has expired")),
    (
        ("bluesky",),
        _R.ACCOUNT_RESTRICTED,
        _BLUESKY_SESSION,
        ("AccountTakedown: Account has been taken down", "AccountDeactivated: Account is deactivated", "Account has been suspended"),
    ),
    (("bluesky",), _R.ACCOUNT_RESTRICTED, _BLUESKY_PROFILE, ("RepoTakendown", "RepoDeactivated: Repo has been deactivated")),
    (("bluesky",), _R.RIGHTS_LOST, _XRPC, ("InvalidToken: Bad token scope",)),
    (("bluesky",), _R.PLATFORM_LIMITED, _BLUESKY_LIMITS, ("RateLimitExceeded: Rate Limit Exceeded", "Rate Limit Exceeded")),
    (
        ("bluesky",),
        _R.TARGET_GONE,
        _BLUESKY_PROFILE,
        ("Profile not found", "Could not find repo: did:plc:ewvi7nxzyoun6zhxrhs64oiz", "RepoNotFound", "Unable to resolve handle"),
    ),
    (
        ("bluesky",),
        _R.PLATFORM_TROUBLE,
        _XRPC,
        ("UpstreamFailure", "UpstreamTimeout: Upstream Timeout", "InternalServerError: Internal Server Error", "NotEnoughResources"),
    ),
    (("bluesky",), _R.TOKEN_EXPIRED, _XRPC, ("ExpiredToken", "expired_token")),
    (("bluesky",), _R.TARGET_GONE, _BLUESKY_PROFILE, ("Could not resolve handle",)),
    # ---- Mastodon
    (
        ("mastodon",),
        _R.CREDENTIAL_REJECTED,
        _MASTODON,
        ("The access token is invalid", "The access token was revoked", "This method requires an authenticated user"),
    ),
    (("mastodon",), _R.TOKEN_EXPIRED, _MASTODON_OAUTH, ("The access token expired",)),
    (
        ("mastodon",),
        _R.CREDENTIAL_REJECTED,
        _MASTODON_OAUTH,
        ("The provided authorization grant is invalid, expired, revoked, does not match the redirection URI used in the request",),
    ),
    (
        ("mastodon",),
        _R.ACCOUNT_RESTRICTED,
        _MASTODON,
        (
            "Your login is currently disabled",
            "Your login is missing a confirmed e-mail address",
            "Your login is currently pending approval",
            "Your login is pending approval",
        ),
    ),
    (("mastodon",), _R.RIGHTS_LOST, _MASTODON, ("This action is outside the authorized scopes", "This action is not allowed")),
    (
        ("mastodon",),
        _R.APP_REFUSED,
        _MASTODON_OAUTH,
        ("Client authentication failed due to unknown client, no client authentication included, or unsupported authentication method.",),
    ),
    (("mastodon",), _R.PLATFORM_LIMITED, _MASTODON_LIMITS, ("Throttled", "Too many requests")),
    (("mastodon",), _R.TARGET_GONE, _MASTODON, ("Record not found",)),
    (
        ("mastodon",),
        _R.PLATFORM_TROUBLE,
        _MASTODON_ERROR,
        ("There was a temporary problem serving your request, please try again", "Remote data could not be fetched"),
    ),
    (("mastodon",), _R.CREDENTIAL_REJECTED, _MASTODON_OAUTH, ("The resource owner or authorization server denied the request.",)),
    # ---- Telegram
    (
        ("telegram",),
        _R.CREDENTIAL_REJECTED,
        _BOT_API,
        (
            "Unauthorized",
            "401: Unauthorized",
            "Not Found",
            "Request failed with status code 401",
            "Request failed with status code 404",
            "Invalid bot token",
        ),
    ),
    (
        ("telegram",),
        _R.CREDENTIAL_REJECTED,
        _MTPROTO,
        ("AUTH_KEY_UNREGISTERED", "SESSION_REVOKED", "SESSION_EXPIRED", "AUTH_KEY_DUPLICATED", "ACCESS_TOKEN_INVALID"),
    ),
    (
        ("telegram",),
        _R.BOT_REMOVED,
        _BOT_API,
        (
            "Forbidden: bot was kicked from the channel chat",
            "Forbidden: bot was kicked from the supergroup chat",
            "Bot was kicked from the channel",
            "Forbidden: bot is not a member of the channel chat",
            "Forbidden: bot was blocked by the user",
        ),
    ),
    (("telegram",), _R.BOT_REMOVED, _MTPROTO_SEND, ("CHANNEL_PRIVATE",)),
    (
        ("telegram",),
        _R.RIGHTS_LOST,
        _BOT_API,
        (
            "Bad Request: need administrator rights in the channel chat",
            "Bad Request: have no rights to send a message",
            "Bad Request: not enough rights to send text messages to the chat",
            "Bot needs channel administrator posting rights",
        ),
    ),
    (
        ("telegram",),
        _R.RIGHTS_LOST,
        _MTPROTO_SEND,
        ("CHAT_ADMIN_REQUIRED", "CHAT_WRITE_FORBIDDEN", "CHAT_SEND_PLAIN_FORBIDDEN", "CHAT_RESTRICTED"),
    ),
    (
        ("telegram",),
        _R.TARGET_GONE,
        _BOT_API,
        (
            "Bad Request: chat not found",
            "Bad Request: group chat was deactivated",
            "Bad Request: group chat was upgraded to a supergroup chat",
            "Forbidden: the group chat was deleted",
            "Channel is unavailable",
        ),
    ),
    (("telegram",), _R.TARGET_GONE, _MTPROTO_SEND, ("PEER_ID_INVALID", "CHANNEL_INVALID")),
    (
        ("telegram",),
        _R.ACCOUNT_RESTRICTED,
        _MTPROTO,
        ("USER_DEACTIVATED_BAN", "USER_DEACTIVATED", "PHONE_NUMBER_BANNED", "USER_BANNED_IN_CHANNEL", "Forbidden: user is deactivated"),
    ),
    (("telegram",), _R.PLATFORM_LIMITED, _BOT_FAQ, ("Too Many Requests: retry after 35", "429: Too Many Requests: retry after 5")),
    (("telegram",), _R.PLATFORM_LIMITED, _MTPROTO, ("FLOOD_WAIT_42", "SLOWMODE_WAIT_10")),
    (("telegram",), _R.PLATFORM_TROUBLE, _BOT_API, ("Bad Gateway", "Internal Server Error", "Request failed with status code 502")),
    (("telegram",), _R.CREDENTIAL_REJECTED, _BOT_API, ("HTTP 404", "Response code 404 (Not Found)", "HTTP 401", "The bot was deleted")),
    (
        ("telegram",),
        _R.RIGHTS_LOST,
        _BOT_API,
        ("Bot is no longer an administrator of the channel", "bot is not admin", "Bad Request: member list is inaccessible"),
    ),
    (("telegram",), _R.BOT_REMOVED, _BOT_API, ("Bot is not in the channel", "Bot has been removed from the channel")),
    (("telegram",), _R.RIGHTS_LOST, _MTPROTO_TOPICS, ("Bad Request: TOPIC_CLOSED",)),
    (("telegram",), _R.TARGET_GONE, _MTPROTO_TOPICS, ("TOPIC_DELETED", "Bad Request: chat_id is empty")),
    # ---- Pinterest
    (("pinterest",), _R.CREDENTIAL_REJECTED, _PINTEREST, ("Authentication failed.", '{"code":2,"message":"Authentication failed."}')),
    (("pinterest",), _R.CREDENTIAL_REJECTED, _PINTEREST_AUTH, ("Invalid refresh token", "Request failed with status code 401")),
    (("pinterest",), _R.TOKEN_EXPIRED, _PINTEREST_AUTH, ("The access token has expired", "Refresh token expired")),
    (
        ("pinterest",),
        _R.RIGHTS_LOST,
        _PINTEREST,
        (
            "Authorization failed.",
            "Not authorized to access the user or board.",
            "You are not permitted to access that resource.",
            "Your request could not be completed because of insufficient scope. Missing: ['pins:write']",
        ),
    ),
    (("pinterest",), _R.TARGET_GONE, _PINTEREST, ("Board not found.", "User not found.")),
    (
        ("pinterest",),
        _R.APP_REFUSED,
        _PINTEREST,
        (
            "Your application consumer type is not supported, please contact support.",
            "Apps with Trial access may not create Pins in production",
        ),
    ),
    (("pinterest",), _R.PLATFORM_LIMITED, _PINTEREST_LIMITS, ("You have exceeded your rate limit. Try again later.",)),
    (("pinterest",), _R.PLATFORM_TROUBLE, _PINTEREST, ("Request failed with status code 500", "Internal server error")),
)

UNKNOWN = (
    "The flux capacitor needs a new bulb",
    "Invalid image format",
    "Caption is too long",
    "Text is too long: 500 of 280 characters",
    "Error: 500 characters are allowed",
    "The limit is 503 words",
    "(#100) Param 404 must be positive",
    "",
)
"""Messages that no platform's documentation has."""


def known_messages() -> Iterator[tuple[str, str, Reason, str]]:
    """Platform, message, reason and source of every message."""
    for platforms, reason, source, messages in _ROWS:
        for platform in platforms:
            for message in messages:
                yield platform, message, reason, source
