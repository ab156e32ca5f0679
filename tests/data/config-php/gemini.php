<?php
function ask( $last_prompt, $history ) {
    $api_key = 'AIzaFALSEfalse0123456789';
    $api_url = 'https://generativelanguage.googleapis.com/v1beta/models/gemini-pro:generateContent?key=' . $api_key;
    foreach ( $history as $turn ) {
        $contents[] = [ 'role' => $turn['role'], 'parts' => [ [ 'text' => $turn['content'] ] ] ];
    }
    return wp_remote_request( $api_url, [ 'method' => 'POST', 'body' => json_encode( [ 'contents' => $contents ] ), 'timeout' => 30 ] );
}
