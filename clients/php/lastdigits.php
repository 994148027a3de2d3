<?php

/**
 * Client of lastdigits, a self-hosted phone verification by flash call. One file: copy it into your project. It needs nothing but PHP 8.1 or newer with curl and OpenSSL.
 *
 *     $verify = new Lastdigits\Client('https://verify.example.com', 'sk_…');
 *     $started = $verify->start('8 (999) 123-45-67', 'login', $_SERVER['REMOTE_ADDR']);
 *     $approved = $verify->check($started['id'], $_POST['code'], $_SERVER['REMOTE_ADDR']);
 *     $approved['phone'];
 *
 * A token that came from a page (the widget) is accepted once by `redeem`, or offline by `verifiedPhone`.
 */

declare(strict_types=1);

namespace Lastdigits;

/** The service refused (docs/errors.md has every `problem`), or did not answer: then `problem` is `no_answer` and `status` 0. */
final class Problem extends \RuntimeException
{
    /** @param array<string, mixed> $members the whole answer: `attempts_left`, `limit` and the like */
    public function __construct(
        public readonly int $status,
        public readonly string $problem,
        public readonly ?int $retryAfter = null,
        public readonly array $members = [],
        public readonly ?string $idempotencyKey = null,
    ) {
        parent::__construct("$status $problem");
    }
}

/** The token does not verify this phone for this purpose. The message is for your log. */
final class TokenRefused extends \RuntimeException
{
}

final class Client
{
    private const MAX_WAIT = 5;
    private const NOTHING_DONE = ['idempotency_key_in_use', 'store_unavailable'];
    private const NEVER_SENT = [\CURLE_COULDNT_RESOLVE_PROXY, \CURLE_COULDNT_RESOLVE_HOST, \CURLE_COULDNT_CONNECT];

    /**
     * @param string $key a secret key, `sk_…`
     * @param int $timeout seconds for one answer: a start takes as long as the telephony provider does
     * @param int $retries how often a request is sent again, where that does no more than sending it once
     */
    public function __construct(
        private readonly string $url,
        #[\SensitiveParameter] private readonly string $key,
        private readonly int $timeout = 30,
        private readonly int $retries = 2,
    ) {
        if (!\preg_match('/^[!-~]+$/D', $key)) {
            throw new \ValueError('The key has a line break, a space or another character that no key has.');
        }
    }

    /**
     * Calls a phone. One action is one call: the idempotency key stays the same over all tries. After a Problem, its `idempotencyKey` continues the same action.
     *
     * @param ?string $clientIp your user's address: without it no limit by address applies
     * @param array<string, mixed> $more `device`, `code_length`
     * @return array<string, mixed> `id`, `phone`, `code_length`, `expires_in`, `resend_in` …
     */
    public function start(
        string $phone,
        string $purpose,
        ?string $clientIp = null,
        array $more = [],
        ?string $idempotencyKey = null,
    ): array {
        $body = ['phone' => $phone, 'purpose' => $purpose, 'client_ip' => $clientIp] + $more;
        return $this->post('/verify/start', $body, $idempotencyKey ?? \bin2hex(\random_bytes(16)));
    }

    /**
     * Checks what a person typed. A wrong code is the problem `code_incorrect`.
     *
     * @return array<string, mixed> `phone`, `token`, `device` …
     */
    public function check(string $id, #[\SensitiveParameter] string $code, ?string $clientIp = null, array $more = []): array
    {
        return $this->post('/verify/check', ['id' => $id, 'code' => $code, 'client_ip' => $clientIp] + $more);
    }

    /** Calls the phone of a pending verification again, at the earliest after `resend_in` seconds. */
    public function resend(string $id, ?string $clientIp = null, array $more = [], ?string $idempotencyKey = null): array
    {
        $body = ['id' => $id, 'client_ip' => $clientIp] + $more;
        return $this->post('/verify/resend', $body, $idempotencyKey ?? \bin2hex(\random_bytes(16)));
    }

    /**
     * Accepts a token once, for one purpose.
     *
     * @return string the phone
     * @throws TokenRefused the token is not valid, or was accepted before
     * @throws Problem the service refused for another reason, or did not answer: take it for a no
     */
    public function redeem(#[\SensitiveParameter] string $token, string $purpose, bool $acceptTest = false): string
    {
        try {
            $redeemed = $this->post('/verify/redeem', ['token' => $token]);
        } catch (Problem $problem) {
            throw \str_starts_with($problem->problem, 'token_') ? new TokenRefused($problem->problem) : $problem;
        }
        if ($redeemed['purpose'] !== $purpose || ($redeemed['test'] && !$acceptTest)) {
            throw new TokenRefused('It is for another purpose, or of a test number or a sandbox.');
        }
        return $redeemed['phone'];
    }

    /** The keys for `verifiedPhone`. Keep them in your cache for at most five minutes. */
    public function keys(): array
    {
        return $this->send('/.well-known/jwks.json', [], null, true);
    }

    private function post(string $path, #[\SensitiveParameter] array $body, ?string $idempotencyKey = null): array
    {
        $given = \array_filter($body, static fn ($value) => $value !== null);
        $json = \json_encode($given, \JSON_THROW_ON_ERROR | \JSON_INVALID_UTF8_SUBSTITUTE);
        $headers = ['Content-Type: application/json', "Authorization: Bearer $this->key"];
        if ($idempotencyKey !== null) {
            // It may come from a page: a line break in it would write the rest of the request.
            if (!\preg_match('/^[ -~]{1,255}$/D', $idempotencyKey)) {
                throw new Problem(400, 'idempotency_key_invalid');
            }
            $headers[] = "Idempotency-Key: $idempotencyKey";
        }
        $options = [\CURLOPT_POSTFIELDS => $json, \CURLOPT_HTTPHEADER => $headers];
        return $this->send($path, $options, $idempotencyKey, $idempotencyKey !== null);
    }

    private function send(string $path, #[\SensitiveParameter] array $options, ?string $idempotencyKey, bool $repeatable): array
    {
        for ($triesLeft = $this->retries; ; $triesLeft--) {
            [$status, $answer, $error] = $this->try($path, $options);
            if ($status >= 200 && $status < 300 && (isset($answer['id']) || isset($answer['keys']))) {
                return $answer;
            }
            // A proxy that says 200 in the service's place: who passes the status on would pass on a yes.
            $lost = $error || $status < 300;
            $problem = $lost ? 'no_answer' : (string) ($answer['code'] ?? 'unexpected_answer');
            $wait = $answer['retry_after'] ?? null;
            $again = $lost
                ? $repeatable || \in_array($error, self::NEVER_SENT, true)
                : \in_array($problem, self::NOTHING_DONE, true) && $wait <= self::MAX_WAIT;
            if (!$triesLeft || !$again) {
                throw new Problem($lost ? 0 : $status, $problem, $wait, $answer ?? [], $idempotencyKey);
            }
            \usleep((int) (($wait ?? 0.5) * 1_000_000));
        }
    }

    /** @return array{int, ?array<string, mixed>, int} status, body, curl's error */
    private function try(string $path, #[\SensitiveParameter] array $options): array
    {
        $curl = \curl_init(\rtrim($this->url, '/') . $path);
        \curl_setopt_array($curl, $options + [
            \CURLOPT_RETURNTRANSFER => true,
            \CURLOPT_CONNECTTIMEOUT => 5,
            \CURLOPT_TIMEOUT => $this->timeout,
            \CURLOPT_PROTOCOLS => \CURLPROTO_HTTP | \CURLPROTO_HTTPS,
        ]);
        $text = \curl_exec($curl);
        $status = (int) \curl_getinfo($curl, \CURLINFO_RESPONSE_CODE);
        $error = \curl_errno($curl);
        $answer = $error ? null : \json_decode((string) $text, true, 32);
        return [$error ? 0 : $status, \is_array($answer) ? $answer : null, $error];
    }
}

/** Seconds that your clock may be off. */
const LEEWAY = 10;

/**
 * The phone that a token verifies for a purpose, without a request: by the keys of `Client::keys`.
 *
 * @param array<string, mixed> $keys the key set
 * @param string $issuer the service's LASTDIGITS_ISSUER
 * @param string $audience the id, or the `audience`, of your client
 * @param string $algorithm `ES256`, or `EdDSA` (with the sodium extension): the one that the service signs with. The token does not choose it.
 * @throws TokenRefused for whatever reason: answer all of them the same way
 */
function verifiedPhone(
    #[\SensitiveParameter] string $token,
    string $purpose,
    array $keys,
    string $issuer,
    string $audience,
    string $algorithm = 'ES256',
    bool $acceptTest = false,
): string {
    [$header, $claims] = signedParts($token, $keys['keys'] ?? [], $algorithm);
    $holds = ($header['typ'] ?? null) === 'verification+jwt' && !isset($header['crit'])
        && $issuer !== '' && ($claims['iss'] ?? null) === $issuer
        && $audience !== '' && ($claims['aud'] ?? null) === $audience
        && ($claims['purpose'] ?? null) === $purpose
        && \is_int($claims['exp'] ?? null) && \time() < $claims['exp'] + LEEWAY
        && \is_int($claims['nbf'] ?? null) && \time() >= $claims['nbf'] - LEEWAY
        && \is_string($claims['jti'] ?? null) && \is_string($claims['phone_number'] ?? null)
        && ($acceptTest || !\array_key_exists('test', $claims));
    if (!$holds) {
        throw new TokenRefused('It has expired, is of another type, issuer, audience or purpose, or of a test number.');
    }
    return $claims['phone_number'];
}

/**
 * The header and the claims of a token that one of the keys has signed.
 *
 * @return array{array<string, mixed>, array<string, mixed>}
 * @throws TokenRefused
 */
function signedParts(#[\SensitiveParameter] string $token, array $keys, string $algorithm): array
{
    $parts = \explode('.', $token);
    $decoded = \array_map(decoded(...), $parts);
    $header = \json_decode($decoded[0], true, 8);
    if (\count($parts) !== 3 || !\is_array($header) || ($header['alg'] ?? null) !== $algorithm) {
        throw new TokenRefused('It is not a token of this algorithm.');
    }
    foreach ($keys as $key) {
        if ($key['kid'] === ($header['kid'] ?? null) && $key['alg'] === $algorithm) {
            $claims = isSigned("$parts[0].$parts[1]", $decoded[2], $key) ? \json_decode($decoded[1], true, 8) : null;
            return \is_array($claims) ? [$header, $claims] : throw new TokenRefused('The signature is wrong.');
        }
    }
    throw new TokenRefused('The key is unknown.');
}

function isSigned(string $message, string $signature, array $key): bool
{
    if (\strlen($signature) !== 64) {
        return false;
    }
    return match ($key['alg']) {
        'ES256' => \openssl_verify($message, asDer($signature), asPem($key), \OPENSSL_ALGO_SHA256) === 1,
        'EdDSA' => \sodium_crypto_sign_verify_detached($signature, $message, decoded($key['x'])),
        default => false,
    };
}

/** The two numbers of a signature as OpenSSL reads them: a sequence of integers. A JWT has them side by side (RFC 7518, section 3.4). */
function asDer(string $signature): string
{
    $integers = '';
    foreach (\str_split($signature, 32) as $number) {
        $number = \ltrim($number, "\0");
        $number = $number === '' || \ord($number[0]) > 0x7F ? "\0$number" : $number;
        $integers .= "\x02" . \chr(\strlen($number)) . $number;
    }
    return "\x30" . \chr(\strlen($integers)) . $integers;
}

/** A key as OpenSSL reads it. What stands before the point is the same for each key of the curve P-256 (RFC 5480). */
function asPem(array $key): string
{
    $der = \hex2bin('3059301306072a8648ce3d020106082a8648ce3d03010703420004') . decoded($key['x']) . decoded($key['y']);
    return "-----BEGIN PUBLIC KEY-----\n" . \chunk_split(\base64_encode($der), 64, "\n") . "-----END PUBLIC KEY-----\n";
}

/** The bytes of base64url; empty if the text is not what these bytes are written as. */
function decoded(string $text): string
{
    $bytes = (string) \base64_decode(\strtr($text, '-_', '+/'), true);
    return \rtrim(\strtr(\base64_encode($bytes), '+/', '-_'), '=') === $text ? $bytes : '';
}
