<?php
declare(strict_types=1);

// The chat backend as a PHP script under PHP-FPM: one worker process a visitor, cURL towards DashScope.

const SYSTEM_PROMPT = 'Answer questions only related to digital marketing, otherwise, say I dont know';
const JSON_FLAGS = JSON_UNESCAPED_UNICODE | JSON_UNESCAPED_SLASHES;

// When the visitor leaves, the transfer is ended by what the callback below returns. Left to PHP, the script would be
// ended inside cURL's callback, and the connection to the upstream would stay open.
ignore_user_abort(true);

function answer(int $status, array $body): void
{
    http_response_code($status);
    header('Content-Type: application/json');
    echo json_encode($body, JSON_FLAGS);
}

function fail(int $status, string $message): void
{
    answer($status, ['success' => false, 'message' => $message, 'result' => '', 'request_id' => request_id()]);
}

function request_id(): string
{
    return $_SERVER['REQUEST_ID'] ?? '';
}

function send(array $event): void
{
    echo 'data: ', json_encode($event, JSON_FLAGS), "\n\n";
    flush();
}

function upstream_request(string $prompt, bool $streamed): CurlHandle
{
    $messages = [
        ['role' => 'system', 'content' => SYSTEM_PROMPT],
        ['role' => 'user', 'content' => $prompt],
    ];
    $parameters = ['temperature' => 0.7] + ($streamed ? ['incremental_output' => true] : []);
    $headers = [
        'Authorization: Bearer ' . getenv('DASHSCOPE_API_KEY'),
        'Content-Type: application/json',
        'Expect:',
    ];
    if ($streamed) {
        $headers[] = 'X-DashScope-SSE: enable';
    }
    $curl = curl_init(getenv('UPSTREAM_URL'));
    curl_setopt_array($curl, [
        CURLOPT_POSTFIELDS => json_encode(
            ['input' => ['messages' => $messages], 'parameters' => $parameters, 'debug' => (object) []],
            JSON_FLAGS
        ),
        CURLOPT_HTTPHEADER => $headers,
        CURLOPT_CAINFO => getenv('CA_BUNDLE'),
        // Each connection reads the bundle: a thousand at once take longer than a usual limit.
        CURLOPT_CONNECTTIMEOUT => 60,
        CURLOPT_TIMEOUT => 300,
    ]);
    return $curl;
}

function stream(string $prompt): void
{
    $buffer = '';
    $started = false;
    $take = function (CurlHandle $curl, string $bytes) use (&$buffer, &$started): int {
        if (curl_getinfo($curl, CURLINFO_RESPONSE_CODE) !== 200) {
            return 0;
        }
        $buffer .= $bytes;
        $from = 0;
        while (($end = strpos($buffer, "\n\n", $from)) !== false) {
            $data = strpos($buffer, "\ndata:", $from);
            if ($data !== false && $data < $end) {
                if (!$started) {
                    header('Content-Type: text/event-stream; charset=utf-8');
                    header('Cache-Control: no-cache, no-transform');
                    header('X-Accel-Buffering: no');
                    $started = true;
                }
                relay_event(json_decode(substr($buffer, $data + 6, $end - $data - 6), true));
            }
            $from = $end + 2;
        }
        $buffer = substr($buffer, $from);
        return connection_aborted() ? 0 : strlen($bytes);
    };
    $curl = upstream_request($prompt, true);
    curl_setopt($curl, CURLOPT_WRITEFUNCTION, $take);
    if (!curl_exec($curl) && !$started) {
        fail(502, 'Connection failed');
    }
}

function relay_event(?array $event): void
{
    $output = $event['output'] ?? [];
    $session = $output['session_id'] ?? '';
    $text = $output['text'] ?? '';
    if ($text !== '') {
        send(['success' => true, 'content' => $text, 'finished' => false, 'session_id' => $session]);
    }
    if (($output['finish_reason'] ?? 'null') === 'stop') {
        send([
            'success' => true,
            'finished' => true,
            'message' => 'Stream completed',
            'session_id' => $session,
            'usage' => $event['usage']['models'][0] ?? [],
            'request_id' => request_id(),
        ]);
    }
}

function whole(string $prompt): void
{
    $curl = upstream_request($prompt, false);
    curl_setopt($curl, CURLOPT_RETURNTRANSFER, true);
    $reply = json_decode((string) curl_exec($curl), true);
    if (!isset($reply['output']['text'])) {
        fail(502, 'Connection failed');
        return;
    }
    answer(200, [
        'success' => true,
        'message' => 'Response Generated',
        'result' => $reply['output']['text'],
        'response' => $reply['output']['text'],
        'session_id' => $reply['output']['session_id'] ?? '',
        'usage' => $reply['usage']['models'][0] ?? [],
        'request_id' => request_id(),
    ]);
}

$path = strtok($_SERVER['REQUEST_URI'], '?');
if ($path === '/health') {
    answer(200, ['status' => 'healthy', 'service' => 'Bailian-chatbot-backend', 'version' => '0']);
} elseif ($path === '/myapi/v1/chat-bot-config') {
    answer(200, [
        'botStatus' => 0,
        'StartUpMessage' => 'Hi, How are you?',
        'fontSize' => '16',
        'userAvatarURL' => '',
        'botImageURL' => '',
        'commonButtons' => [['buttonText' => 'I want a Discount', 'buttonPrompt' => 'I want a discount']],
    ]);
} elseif ($path === '/myapi/v1/chat-bot/stream' || $path === '/myapi/v1/chat-bot') {
    $request = json_decode((string) file_get_contents('php://input'), true);
    $prompt = $request['last_prompt'] ?? null;
    if (!is_string($prompt) || trim($prompt) === '') {
        fail(400, 'last_prompt is required');
    } elseif ($path === '/myapi/v1/chat-bot') {
        whole($prompt);
    } else {
        stream($prompt);
    }
} else {
    fail(404, 'Endpoint not found');
}
