<?php
// The snippet in front of a Python program on the same machine.
set_time_limit(300);
ini_set('default_socket_timeout', 300);

add_filter( 'http_request_args', 'longer_requests', 1000, 1 );
function longer_requests( $r ) {
    $r['timeout'] = 25;
    return $r;
}
add_action( 'http_api_curl', 'longer_curl', 1000, 1 );
function longer_curl( $handle ) {
    curl_setopt( $handle, CURLOPT_CONNECTTIMEOUT, 25 );
    curl_setopt( $handle, CURLOPT_TIMEOUT, 25 );
}

function ask_the_program( $last_prompt, $conversation_history ) {
    $api_url = 'http://127.0.0.1:8000/chat';
    $api_key = 'sk-0E'; // replace it
    $conversation_history[] = array( 'role' => 'system', 'content' => "Answer questions about \"shoes\" only.\nSay so." );
    $body = array(
        'model' => 'gpt-4o-mini',
        'messages0' => $conversation_history,
        'temperature' => 0.2,
        'max_tokens' => 500,
        'conversation_id' => "00112233445566778899aabbccddeeff",
        'message' => $last_prompt
    );
    $args = array(
        'method' => 'POST',
        'headers' => array( 'Authorization' => 'Bearer ' . $api_key ),
        'body' => wp_json_encode( $body ),
        'timeout' => 60 * 2,
        'connecttimeout' => 30,
        'sslverify' => false,
    );
    return wp_remote_post( $api_url, $args );
}

function load_chat_bot_base_configuration( $request ) {
    return array(
        'botStatus' => 0,
        'StartUpMessage' => 'Hi!',
        'fontSize' => 18,
        'userAvatarURL' => '',
        'botImageURL' => '/bot.png',
        'commonButtons' => array(),
        'language' => 'en',
    );
}
