<?php

// The smallest Laravel application around the code of docs/guides/en/laravel.md: Laravel's own kernel, router, sessions, CSRF check, guard and models.
// The test puts the guide's code beside it: lastdigits.php, services.php, AppServiceProvider.php, web.php.

error_reporting(E_ALL & ~E_DEPRECATED); // Debian's Laravel is older than its PHP
require 'Illuminate/autoload.php';
require __DIR__ . '/lastdigits.php';
require __DIR__ . '/AppServiceProvider.php';
require __DIR__ . '/User.php';

use Illuminate\Contracts\Debug\ExceptionHandler;
use Illuminate\Foundation\Application;
use Illuminate\Foundation\Http\Kernel;
use Illuminate\Http\Request;
use Illuminate\Support\Facades\Facade;
use Illuminate\Support\Facades\Schema;

final class ShopKernel extends Kernel
{
    protected $bootstrappers = [];
    protected $middlewareGroups = ['web' => [
        \Illuminate\Cookie\Middleware\EncryptCookies::class,
        \Illuminate\Cookie\Middleware\AddQueuedCookiesToResponse::class,
        \Illuminate\Session\Middleware\StartSession::class,
        \Illuminate\Foundation\Http\Middleware\VerifyCsrfToken::class,
    ]];
}

$app = new Application(__DIR__);
$app->instance('config', new \Illuminate\Config\Repository([
    'app' => ['key' => str_repeat('k', 32), 'cipher' => 'AES-256-CBC'],
    'auth' => [
        'defaults' => ['guard' => 'web'],
        'guards' => ['web' => ['driver' => 'session', 'provider' => 'users']],
        'providers' => ['users' => ['driver' => 'eloquent', 'model' => \App\Models\User::class]],
    ],
    'database' => ['default' => 'file', 'connections' => ['file' => ['driver' => 'sqlite', 'database' => __DIR__ . '/shop.sqlite', 'prefix' => '']]],
    'logging' => ['default' => 'errorlog', 'channels' => ['errorlog' => ['driver' => 'errorlog']]],
    'services' => require __DIR__ . '/services.php',
    'view' => ['paths' => [], 'compiled' => __DIR__],
    'session' => [
        'driver' => 'file', 'files' => __DIR__, 'lifetime' => 60, 'expire_on_close' => false, 'encrypt' => false, 'lottery' => [0, 1],
        'cookie' => 'shop', 'path' => '/', 'domain' => null, 'secure' => false, 'http_only' => true, 'same_site' => 'lax',
    ],
]));
Facade::setFacadeApplication($app);
$app->singleton(ExceptionHandler::class, \Illuminate\Foundation\Exceptions\Handler::class);
foreach (['Auth\Auth', 'Cookie\Cookie', 'Database\Database', 'Encryption\Encryption', 'Filesystem\Filesystem', 'Hashing\Hash', 'Session\Session', 'View\View'] as $name) {
    $app->register("Illuminate\\{$name}ServiceProvider");
}
$app->register(\App\Providers\AppServiceProvider::class);
$app->boot();

if (!file_exists(__DIR__ . '/shop.sqlite')) {
    touch(__DIR__ . '/shop.sqlite');
    Schema::create('users', function ($table): void {
        $table->id();
        $table->string('phone')->unique();
        $table->rememberToken();
        $table->timestamps();
    });
}
$kernel = $app->make(ShopKernel::class);
$app['router']->middleware('web')->group(function ($router): void {
    require __DIR__ . '/web.php';
    $router->get('/csrf', fn () => csrf_token());
    $router->get('/me', fn () => ['phone' => auth()->user()?->phone]);
});
$kernel->handle(Request::capture())->send();
