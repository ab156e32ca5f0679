<?php
if ( ! defined( 'ABSPATH' ) ) {
    exit;
}

/** The chat as a class, with its settings partly in WordPress's database. */
final class Shop_Chat {
    const TEMPERATURE = 0.4;
    private string $api_key;
    private $endpoint = 'https://api.openai.com/v1/chat/completions';
    private static ?Shop_Chat $instance = null;

    public function __construct() {
        $this->api_key = get_option( 'shop_chat_key', '' );
        add_action( 'rest_api_init', [ $this, 'register_routes' ] );
    }

    public function register_routes() {
        register_rest_route( 'myapi/v1', '/chat-bot/', [ 'methods' => WP_REST_Server::CREATABLE, 'callback' => [ $this, 'chat' ] ] );
        register_rest_route( 'myapi/v1', '/chat-bot-config', [ 'methods' => 'GET', 'callback' => [ $this, 'load_chat_bot_base_configuration' ] ] );
        register_rest_route( 'myapi/v1', '/leads', [ 'methods' => 'POST', 'callback' => [ $this, 'lead' ] ] );
    }

    public function chat( WP_REST_Request $request ) {
        $shop = get_bloginfo( 'name' );
        $messages = [ [ 'role' => 'system', 'content' => "You work for {$shop}. Be kind." ] ];
        foreach ( (array) $request->get_param( 'conversation_history' ) as $turn ) {
            $messages[] = [ 'role' => $turn['role'], 'content' => $turn['content'] ];
        }
        return wp_remote_post( $this->endpoint, [
            'headers' => [ 'Authorization' => "Bearer {$this->api_key}" ],
            'body'    => wp_json_encode( [
                'model'       => $request['model'] ?? 'gpt-4o',
                'messages'    => $messages,
                'temperature' => self::TEMPERATURE,
            ] ),
            'timeout' => 45,
        ] );
    }

    public function load_chat_bot_base_configuration( WP_REST_Request $request ) {
        $font_size = '15';
        $buttons   = [];
        foreach ( [ 'one', 'two' ] as $name ) {
            $text = get_option( "shop_button_$name", '' );
            if ( $text !== '' ) {
                $buttons[] = [ 'buttonText' => $text, 'buttonPrompt' => $text ];
            }
        }
        return new WP_REST_Response( [
            'botStatus'      => get_option( 'shop_chat_enabled', 1 ),
            'StartUpMessage' => __( 'Hi, what are you looking for?', 'shop-chat' ),
            'fontSize'       => $font_size,
            'userAvatarURL'  => esc_url( 'https://shop.example/user.png' ),
            'botImageURL'    => plugin_dir_url( __FILE__ ) . 'bot.png',
            'commonButtons'  => $buttons,
        ], 200 );
    }
}
