<?php
// Asks an application, as bailian-fcgi does.
$app_id  = 'a1b2c3d4e5f60718293a4b5c6d7e8f90';
$apiKey  = getenv('DASHSCOPE_API_KEY');
$url     = "https://dashscope.aliyuncs.com/api/v1/apps/{$app_id}/completion";
$payload = array('input' => array('prompt' => $_POST['last_prompt']), 'parameters' => new stdClass());
$ch = curl_init();
curl_setopt($ch, CURLOPT_URL, $url);
curl_setopt($ch, CURLOPT_SSL_VERIFYPEER, 0);
curl_setopt($ch, CURLOPT_TIMEOUT, 0);
curl_setopt($ch, CURLOPT_HTTPHEADER, array("Authorization: Bearer $apiKey"));
curl_setopt($ch, CURLOPT_POSTFIELDS, json_encode($payload));
echo curl_exec($ch);
