## Paste into the theme's functions.php. There is no opening tag in a snippet.

function ask_the_model( $last_prompt, $conversation_history ) {

// where it asks
$api_url = 'https://dashscope.aliyuncs.com/compatible-mode/v1/chat/completions';
$api_key = 'sk-snippet0123456789abcdef'; // from the console

$headers = [
    'Content-Type' => 'application/json',
    'Authorization' => 'Bearer ' . $api_key
];

$conversation_history[] = [
    'role' => 'system',
    'content' => 'You are the clerk of a garden shop. Answer in one sentence; don\'t talk about anything but plants.'
];
$conversation_history[] = [
    'role' => 'user',
    'content' => $last_prompt
];

$body = [
    'model' => 'qwen-turbo', # the cheap one
    'messages' => $conversation_history,
    'temperature' => 0.7 /* middling */
];

$args = [
    'method' => 'POST',
    'headers' => $headers,
    'body' => json_encode($body),
    'timeout' => 120
];

$response = wp_remote_request($api_url, $args);
if (is_wp_error($response)) {
    return $response->get_error_message();
} else {
    $data = json_decode(wp_remote_retrieve_body($response), true);
    if (!isset($data['choices'])) {
        return [ 'success' => false, 'message' => 'failed: ' . $response, 'result' => '' ];
    }
    return [
        'success' => true,
        'message' => 'Response Generated',
        'result' => $data['choices'][0]['message']['content']
    ];
}
}

function handle_it( WP_REST_Request $request ) {
    return ask_the_model($request->get_param('last_prompt'), $request->get_param('conversation_history'));
}

function load_chat_bot_base_configuration(WP_REST_Request $request) {
$user_avatar_url = "https://garden.example/user.png";
$bot_image_url = "https://garden.example/bot.png";

$response = array(
'botStatus' => 1,
'StartUpMessage' => "What grows at your place?",
'fontSize' => '16',
'userAvatarURL' => $user_avatar_url,
'botImageURL' => $bot_image_url,
'commonButtons' => array(
    array(
        'buttonText' => 'Roses',
        'buttonPrompt' => 'How do I prune roses?'
    ),
    array(
        'buttonText' => 'Opening hours',
        'buttonPrompt' => 'When are you open?'
    )
)
);

$response = new WP_REST_Response($response, 200);
return $response;
}

add_action( 'rest_api_init', function () {
register_rest_route( 'myapi/v1', '/chat-bot/', array(
   'methods' => 'POST',
   'callback' => 'handle_it',
   'permission_callback' => '__return_true'
) );
register_rest_route('myapi/v1', '/chat-bot-config', array(
    'methods' => 'GET',
    'callback' => 'load_chat_bot_base_configuration',
));
} );
