<?php

// The smallest backend around `verifiedPhone` of clients/php. It keeps the keys in a file: PHP forgets everything else between two requests.

require __DIR__ . '/lastdigits.php';

if (!file_exists('keys.json')) {
    copy(getenv('TOKEN_JWKS'), 'keys.json');
}
$keys = json_decode(file_get_contents('keys.json') ?: '{}', true);
$token = json_decode(file_get_contents('php://input'), true)['token'] ?? '';
$trust = [getenv('TOKEN_ISSUER'), getenv('TOKEN_AUDIENCE'), 'ES256'];
try {
    echo json_encode(['phone' => Lastdigits\verifiedPhone($token, 'login', $keys, ...$trust)]);
} catch (Lastdigits\TokenRefused) {
    http_response_code(403);
}
