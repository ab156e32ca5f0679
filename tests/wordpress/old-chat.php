<?php
/**
 * The chat as WordPress sites had it: a snippet with the key in it that asks the model and waits for the whole
 * answer, one PHP worker for each visitor. Written for the test; @BASE_URL@ is the simulator's.
 */

function generate_chat_response($last_prompt, $conversation_history) {
    $api_key = 'sk-of-the-old-snippet';
    $url = '@BASE_URL@/apps/0123456789abcdef0123456789abcdef/completion';
    $messages = array(array('role' => 'system', 'content' => 'Answer questions only related to digital marketing'));
    foreach ((array) $conversation_history as $message) {
        $messages[] = array('role' => $message['role'], 'content' => $message['content']);
    }
    $messages[] = array('role' => 'user', 'content' => $last_prompt);

    $curl = curl_init($url);
    curl_setopt_array($curl, array(
        CURLOPT_RETURNTRANSFER => true,
        CURLOPT_TIMEOUT => 120,
        CURLOPT_HTTPHEADER => array('Authorization: Bearer ' . $api_key, 'Content-Type: application/json'),
        CURLOPT_POSTFIELDS => json_encode(array('input' => array('messages' => $messages))),
    ));
    $answer = json_decode(curl_exec($curl), true);
    curl_close($curl);

    if (!isset($answer['output']['text'])) {
        return array('success' => false, 'message' => 'API Error', 'result' => '');
    }
    return array('success' => true, 'message' => 'Response Generated', 'result' => $answer['output']['text']);
}

function handle_chat_bot_request(WP_REST_Request $request) {
    $last_prompt = $request->get_param('last_prompt');
    if (!$last_prompt) {
        return new WP_REST_Response(array('success' => false, 'message' => 'last_prompt is required', 'result' => ''), 400);
    }
    return generate_chat_response($last_prompt, $request->get_param('conversation_history'));
}

function load_chat_bot_base_configuration(WP_REST_Request $request) {
    return new WP_REST_Response(array(
        'botStatus' => 1,
        'StartUpMessage' => '您好 👋 What can I do for you?',
        'fontSize' => '18',
        'userAvatarURL' => 'https://example.com/user.png',
        'botImageURL' => 'https://example.com/bot.png',
        'commonButtons' => array(
            array('buttonText' => 'Prices', 'buttonPrompt' => 'What does it cost?'),
            array('buttonText' => '折扣', 'buttonPrompt' => '有折扣吗？'),
        ),
    ), 200);
}

add_action('rest_api_init', function () {
    register_rest_route('myapi/v1', '/chat-bot/', array(
        'methods' => 'POST',
        'callback' => 'handle_chat_bot_request',
        'permission_callback' => '__return_true',
    ));
    register_rest_route('myapi/v1', '/chat-bot-config', array(
        'methods' => 'GET',
        'callback' => 'load_chat_bot_base_configuration',
        'permission_callback' => '__return_true',
    ));
});
