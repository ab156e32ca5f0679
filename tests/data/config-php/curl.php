<?php
/**
 * Plugin Name: 网站客服
 */
declare(strict_types=1);

defined('ABSPATH') or die();

const CHAT_MODEL = 'qwen-plus';
define('DASHSCOPE_API_KEY', 'sk-curl0123456789abcdef');
define( 'CHAT_HOST', 'https://dashscope-intl.aliyuncs.com' );

function chat_ask(array $messages): ?string
{
    $system = <<<PROMPT
        你是“小店”的客服，只回答与商品有关的问题。
        价格以 ￥ 计算；遇到不懂的问题请说：“请联系人工客服”。
          - 不要编造 #优惠 $
        PROMPT;
    array_unshift($messages, ['role' => 'system', 'content' => trim($system)]);
    $ch = curl_init(CHAT_HOST . '/compatible-mode/v1/chat/completions');
    curl_setopt_array($ch, [
        CURLOPT_RETURNTRANSFER => true,
        CURLOPT_POST => true,
        CURLOPT_CONNECTTIMEOUT_MS => 5000,
        CURLOPT_TIMEOUT => 90,
        CURLOPT_HTTPHEADER => ['Content-Type: application/json', 'Authorization: Bearer ' . DASHSCOPE_API_KEY],
        CURLOPT_POSTFIELDS => json_encode([
            'model' => CHAT_MODEL,
            'messages' => $messages,
            'temperature' => '0.85',
            'top_p' => 0.8,
        ], JSON_UNESCAPED_UNICODE),
    ]);
    $answer = curl_exec($ch);
    return $answer === false ? null : (string) $answer;
}

function load_chat_bot_base_configuration(): array
{
    $buttons = [];
    $buttons[] = ['buttonText' => '发货', 'buttonPrompt' => '多久发货？'];
    $buttons[] = ['buttonText' => '退货', 'buttonPrompt' => '怎么退货？'];
    $config = ['botStatus' => true, 'StartUpMessage' => "您好👋\u{ff0c}有什么可以帮您？"];
    $config['fontSize'] = '14';
    $config['userAvatarURL'] = "https://shop.example/u.png";
    $config['botImageURL'] = 'https://shop.example/' . 'b.png';
    $config['commonButtons'] = $buttons;
    return $config;
}
?>
<div class="chat" data-note="it's no PHP here: $api_key = 'sk-wrong';"></div>
<?php add_action('wp_footer', static fn () => print('</div>'));
