<?php
return array(
  "botStatus" => 1,
